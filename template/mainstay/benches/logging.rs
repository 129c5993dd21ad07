//! The cost of an event, beside other JSON layers: `cargo bench --bench logging`, in about half a minute.
//!
//! The event of one request goes to a file: by the log of a service; by `fmt().json()`; by `json-subscriber`; and by
//! `fmt().json()` without a write, which leaves the formatting. `tracing-flat-json` is left out: it would bring seven
//! crates into the lock of each service.
//!
//! Each turn is a process of its own, since a process has one log. The median of the turns counts. The cost is the CPU
//! time of the thread that logs, and of all threads of the process.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark may block its threads"
)]

#[allow(dead_code, reason = "each benchmark uses a part")]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fmt, fs, io};

use common::{cpu_time, quartiles, take_turns};
use mainstay::settings::ByteSize;
use mainstay::telemetry::{self, Filter, Format, Log};
use tracing::Level;

const ROUNDS: usize = 10;
const EVENTS: u64 = 200_000;
/// The buffer holds this many events.
const BURST: u64 = 1_000;

const CONTENDERS: [(&str, &str); 4] = [
    ("mainstay", "the log"),
    ("fmt", "fmt().json()"),
    ("json-subscriber", "json-subscriber"),
    ("formatted", "fmt().json(), no write"),
];

fn main() {
    let mut arguments = env::args().skip(1);
    match arguments.find(|argument| CONTENDERS.iter().any(|(key, _)| key == argument)) {
        Some(contender) => turn(&contender),
        None => compare(),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn compare() {
    let turn = async |contender: usize| run(CONTENDERS[contender].0);
    let turns: [Vec<[f64; 2]>; CONTENDERS.len()] = take_turns(ROUNDS, turn).await;
    let medians = turns.map(|turns| {
        [0, 1].map(|which| quartiles(turns.iter().map(|costs| costs[which]).collect())[1])
    });
    for ((_, name), [thread, process]) in CONTENDERS.iter().zip(medians) {
        println!(
            "{name:>21}: {thread:>5.0} ns an event of the thread that logs, {process:>5.0} ns of all"
        );
    }
    let [of_thread, of_process] = medians[0];
    for ((_, name), [thread, process]) in CONTENDERS.iter().zip(medians).skip(1).take(2) {
        println!(
            "{:.2} of {name} for the thread that logs, {:.2} for all",
            of_thread / thread,
            of_process / process
        );
    }
}

/// One turn, in a process of its own, with its log in a file: the nanoseconds of an event, of the thread that logs and
/// of all.
fn run(contender: &str) -> [f64; 2] {
    let path = env::temp_dir().join(format!("logging-{}.log", std::process::id()));
    let log = fs::File::create(&path).expect("there is room");
    let output = Command::new(env::current_exe().expect("it is there"))
        .arg(contender)
        .stdout(log)
        .stderr(Stdio::piped())
        .output()
        .expect("it runs");
    fs::remove_file(&path).expect("the file is there");
    let costs = String::from_utf8(output.stderr).expect("it is text");
    serde_json::from_str(&costs).expect(&costs)
}

fn turn(contender: &str) {
    start(contender);
    log(BURST);
    let before = used();
    for _ in 0..EVENTS / BURST {
        log(BURST);
        telemetry::flush();
    }
    let after = used();
    assert_eq!(telemetry::lost_lines(), 0, "all of them must be made");
    let costs = [0, 1].map(|which| (after[which] - before[which]) / EVENTS);
    eprintln!("{costs:?}");
}

fn start(contender: &str) {
    // The rivals get the cheapest of filters.
    let fmt = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_max_level(Level::INFO);
    match contender {
        "fmt" => fmt.init(),
        "formatted" => fmt.with_writer(io::sink).init(),
        "json-subscriber" => json_subscriber::fmt()
            .flatten_event(true)
            .with_span_list(false)
            .with_max_level(Level::INFO)
            .init(),
        _ => {
            let log = Log {
                format: Format::Json,
                filter: Filter::parse("info,sqlx=warn").expect("it is one"),
                buffer: ByteSize(1 << 20),
            };
            log.start().expect("nothing logs yet");
        }
    }
}

/// Logs the event of a request.
fn log(events: u64) {
    for number in 0..events {
        tracing::info!(
            message = "request",
            method = "GET",
            route = "/v1/targets/{id}",
            status = 200,
            duration_ms = 0.347,
            request_id = %Id(0x1234_5678_9abc_def0, number),
        );
    }
}

struct Id(u64, u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0, self.1)
    }
}

/// The nanoseconds of CPU time of this thread, and of all threads of the process.
fn used() -> [u64; 2] {
    let threads = fs::read_dir("/proc/self/task").expect("this is Linux");
    let all = threads.flatten().map(|thread| cpu_time(&thread.path()));
    [cpu_time(Path::new("/proc/thread-self")), all.sum()]
}
