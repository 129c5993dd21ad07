//! What an event costs whoever logs it, beside `tracing_subscriber`'s own JSON: `cargo bench --bench
//! logging`, in about half a minute.
//!
//! The event of one request, into a file: as a service logs it; by `fmt().json()`, as it comes; and by
//! the same without writing anything, which leaves the making of a line. Each turn is a process of
//! its own, since a process has one log. They take turns in one order and then in the other, so that
//! a noisy machine is as noisy for each; the middle of the turns counts. What counts is how long the
//! thread was running that logs, and all threads of the process.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "nobody else is on its threads")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fmt, fs, io};

use mainstay::settings::ByteSize;
use mainstay::telemetry::{self, Filter, Format, Log, message};
use tracing_subscriber::EnvFilter;

const ROUNDS: usize = 10;
const EVENTS: u64 = 200_000;
/// What the buffer holds for sure, so that nothing is lost.
const BURST: u64 = 1_000;

const CONTENDERS: [(&str, &str); 3] = [
    ("ours", "the log"),
    ("theirs", "fmt().json()"),
    ("made", "… that writes nothing"),
];

fn main() {
    let mut arguments = env::args().skip(1);
    match arguments.find(|argument| CONTENDERS.iter().any(|(key, _)| key == argument)) {
        Some(contender) => turn(&contender),
        None => compare(),
    }
}

fn compare() {
    let mut costs: [[Vec<f64>; 2]; 3] = Default::default();
    for _ in 0..ROUNDS {
        for which in [0, 1, 2, 2, 1, 0] {
            let measured = run(CONTENDERS[which].0);
            for (costs, cost) in costs[which].iter_mut().zip(measured) {
                costs.push(cost);
            }
        }
    }
    let costs = costs.map(|costs| costs.map(middle));
    let [[of_thread, of_process], theirs, _] = costs;
    for ((_, name), [thread, process]) in CONTENDERS.iter().zip(costs) {
        println!(
            "{name:>21}: {thread:>5.0} ns an event of the thread that logs, {process:>5.0} ns of all"
        );
    }
    println!(
        "{:.2} of fmt().json() for the thread that logs, {:.2} for all",
        of_thread / theirs[0],
        of_process / theirs[1]
    );
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
    fs::remove_file(&path).expect("nobody else does");
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
    let filter = "info,sqlx=warn";
    let theirs = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(EnvFilter::new(filter));
    match contender {
        "theirs" => theirs.init(),
        "made" => theirs.with_writer(io::sink).init(),
        _ => {
            let log = Log {
                format: Format::Json,
                filter: Filter::written(filter).expect("it is one"),
                buffer: ByteSize(1 << 20),
            };
            log.start().expect("nothing logs yet");
        }
    }
}

/// What a request is logged with.
fn log(events: u64) {
    for number in 0..events {
        tracing::info!(
            message = message::REQUEST,
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

/// For how many nanoseconds the thread has been running, and all threads of the process.
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

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
