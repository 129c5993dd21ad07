//! What the listener costs, beside `axum::serve`: `cargo bench --bench serving`, in about a minute.
//!
//! The same route behind both, on one runtime of one thread, and the same clients on a thread of
//! their own. They take turns of a tenth of a second, in one order and then in the other, so that a
//! noisy machine is as noisy for each; the middle of the rounds counts. `axum::serve` is there twice:
//! what it differs from itself is noise. The clients are fast enough if the thread of the servers is
//! busy all the time; where it is not, look at what an answer costs, not at the rates.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "nobody else is on its threads")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use mainstay::server::{Limits, Listener, Sockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::JoinSet;

const ROUNDS: usize = 50;
const TURN: Duration = Duration::from_millis(100);
const CLIENTS: usize = 32;

const BODY: &str = "hello";
const LIMITS: Limits = Limits {
    max_connections: 10_000,
    ..Limits::OPERATOR
};

/// Whether a connection is kept for the next request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Habit {
    KeepAlive,
    Close,
}

/// What came of one turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    answers: f64,
    seconds: f64,
    /// How long the thread of the servers was running.
    busy: f64,
}

/// What a turn is judged by. Each is better when it is more.
const RATE: fn(&Turn) -> f64 = |turn| turn.answers / turn.seconds;
const THRIFT: fn(&Turn) -> f64 = |turn| turn.answers / turn.busy;

fn main() {
    let (tell, told) = mpsc::channel();
    let servers = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || _ = tell.send(fs::read_link("/proc/thread-self").ok()))
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = servers.block_on(async { ours() });
    let theirs = [servers.block_on(theirs()), servers.block_on(theirs())];
    let contenders = [theirs[0], listener.address(), theirs[1]];
    // Linux tells what a thread has used; elsewhere, the rates will do.
    let thread = told.recv().expect("there is a thread");
    let thread = thread.map(|thread| PathBuf::from("/proc").join(thread).join("schedstat"));

    let clients = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for habit in [Habit::KeepAlive, Habit::Close] {
        let mut turns: [Vec<Turn>; 3] = Default::default();
        // The first round warms up.
        for round in 0..=ROUNDS {
            for which in [0, 1, 2, 2, 1, 0] {
                let before = used(thread.as_ref());
                let (answers, time) = clients.block_on(turn(contenders[which], habit));
                let busy = used(thread.as_ref()).saturating_sub(before);
                if round > 0 {
                    turns[which].push(Turn {
                        answers,
                        seconds: time.as_secs_f64(),
                        busy: busy.as_secs_f64(),
                    });
                }
            }
        }
        report(habit, &turns, thread.is_some());
    }
}

fn report(habit: Habit, [theirs, ours, again]: &[Vec<Turn>; 3], with_costs: bool) {
    println!("{habit:?}");
    for (name, turns) in [("axum::serve", theirs), ("the listener", ours)] {
        let rate = middle(turns.iter().map(RATE));
        print!("  {name:>12}: {rate:>6.0} answers/s");
        if with_costs {
            let cost = middle(turns.iter().map(|turn| 1e6 / THRIFT(turn)));
            let share = 100.0 * middle(turns.iter().map(|turn| turn.busy / turn.seconds));
            print!(", {cost:>5.2} µs of the thread each, which is busy for {share:.0} %");
        }
        println!();
    }
    for (what, of) in [("in rate", RATE), ("per time of the thread", THRIFT)] {
        let [ours, noise] = [ours, again].map(|turns| ratios(turns, theirs, of));
        let ([low, middle, high], [least, _, most]) = (quartiles(ours), quartiles(noise));
        println!(
            "  {middle:.3} of axum::serve {what} (half of the rounds: {low:.3} to {high:.3}; \
             itself: {least:.3} to {most:.3})"
        );
        if !with_costs {
            break;
        }
    }
}

fn routes() -> Router {
    Router::new().route("/", get(async || BODY))
}

async fn theirs() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
    tokio::spawn(async { axum::serve(socket, routes()).await });
    address
}

fn ours() -> Listener {
    let mut sockets = Sockets::from_env(&[]);
    let bound = sockets.take("http", ([127, 0, 0, 1], 0).into());
    let bound = bound.expect("a free port");
    bound.serve(routes(), &LIMITS).expect("it can be watched")
}

/// How many answers all clients got, and in what time.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn turn(server: SocketAddr, habit: Habit) -> (f64, Duration) {
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(server, habit, began + TURN));
    }
    let answers: usize = clients.join_all().await.into_iter().sum();
    (answers as f64, began.elapsed())
}

async fn client(server: SocketAddr, habit: Habit, end: Instant) -> usize {
    let connection = match habit {
        Habit::KeepAlive => "keep-alive",
        Habit::Close => "close",
    };
    let request = format!("GET / HTTP/1.1\r\nhost: here\r\nconnection: {connection}\r\n\r\n");
    let mut answers = 0;
    let mut kept = None;
    while Instant::now() < end {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => TcpStream::connect(server).await.expect("it listens"),
        };
        let asked = stream.write_all(request.as_bytes()).await;
        asked.expect("it reads");
        let mut answer = Vec::with_capacity(512);
        while habit == Habit::Close || !answer.ends_with(BODY.as_bytes()) {
            if stream.read_buf(&mut answer).await.expect("it answers") == 0 {
                break;
            }
        }
        assert!(answer.ends_with(BODY.as_bytes()), "half an answer");
        answers += 1;
        kept = (habit == Habit::KeepAlive).then_some(stream);
    }
    answers
}

/// For how long the thread of the servers has been running by now.
fn used(thread: Option<&PathBuf>) -> Duration {
    let told = thread.and_then(|thread| fs::read_to_string(thread).ok());
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// One ratio a round: it compares what ran at about the same time.
fn ratios(turns: &[Turn], theirs: &[Turn], of: fn(&Turn) -> f64) -> Vec<f64> {
    let sum = |round: &[Turn]| round.iter().map(of).sum::<f64>();
    let rounds = turns.chunks(2).zip(theirs.chunks(2));
    rounds
        .map(|(turns, theirs)| sum(turns) / sum(theirs))
        .collect()
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    quartiles(values.collect())[1]
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
