//! The cost of an event, beside other JSON layers: `cargo bench --bench logging`, in about half a minute.
//!
//! The event of one request goes to a file: by the log of a service; by `fmt().json()`; by `json-subscriber`; and by
//! `fmt().json()` without a write, which leaves the formatting. `tracing-flat-json` is left out: it would bring seven
//! crates into the lock of each service.
//!
//! Each turn is a process of its own, since a process has one log. The turns run in one order and then in the
//! other, so that a noisy machine disturbs all alike, and the median counts. The cost is the CPU time of the thread
//! that logs, and of all threads of the process.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark may block its threads"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fmt, fs, io};

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

fn compare() {
    let mut costs: [[Vec<f64>; 2]; CONTENDERS.len()] = Default::default();
    for _ in 0..ROUNDS {
        let forth = 0..CONTENDERS.len();
        for which in forth.clone().chain(forth.rev()) {
            let measured = run(CONTENDERS[which].0);
            for (costs, cost) in costs[which].iter_mut().zip(measured) {
                costs.push(cost);
            }
        }
    }
    let costs = costs.map(|costs| costs.map(median));
    let [of_thread, of_process] = costs[0];
    for ((_, name), [thread, process]) in CONTENDERS.iter().zip(costs) {
        println!(
            "{name:>21}: {thread:>5.0} ns an event of the thread that logs, {process:>5.0} ns of all"
        );
    }
    for which in [1, 2] {
        let [thread, process] = costs[which];
        println!(
            "{:.2} of {} for the thread that logs, {:.2} for all",
            of_thread / thread,
            CONTENDERS[which].1,
            of_process / process
        );
    }
}

/// One turn, in a process of its own, with its log in a file.
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
    let said = String::from_utf8(output.stderr).expect("it is text");
    let mut costs = said
        .split_whitespace()
        .map(|cost| cost.parse().expect(&said));
    [(); 2].map(|()| costs.next().expect("there are two"))
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
    for (before, after) in before.iter().zip(after) {
        eprintln!("{}", (after - before) / EVENTS);
    }
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
    let of = |thread: PathBuf| {
        let told = fs::read_to_string(thread.join("schedstat")).expect("this is Linux");
        let used = told.split(' ').next().and_then(|used| used.parse().ok());
        used.unwrap_or(0)
    };
    let threads = fs::read_dir("/proc/self/task").expect("this is Linux");
    let all = threads.flatten().map(|thread| of(thread.path())).sum();
    [of("/proc/thread-self".into()), all]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
