//! What the listener costs, beside `axum::serve`: `cargo bench --bench serving`, in about a minute.
//!
//! The same route behind both, on one runtime of one thread, and the same clients on a thread of their own. They take
//! turns of a tenth of a second; the median of the rounds counts. `axum::serve` is there twice: what it differs from
//! itself is noise. The clients are fast enough if the thread of the servers is busy all the time; where it is not, look
//! at what an answer costs, not at the rates.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "nothing else runs on its threads"
)]

#[allow(dead_code, reason = "each benchmark uses a part")]
mod common;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use common::{cpu_time, quartiles, ratios, take_turns};
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

/// The result of one turn.
struct Turn {
    answers: f64,
    seconds: f64,
    /// How long the thread of the servers was running, in seconds.
    busy: f64,
}

/// What a turn is judged by. Each is better when it is more.
const RATE: fn(&Turn) -> f64 = |turn| turn.answers / turn.seconds;
const THRIFT: fn(&Turn) -> f64 = |turn| turn.answers / turn.busy;

fn main() {
    let (tell, told) = mpsc::channel();
    let servers = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || _ = tell.send(fs::read_link("/proc/thread-self")))
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = servers.block_on(async { ours() });
    let theirs = [servers.block_on(theirs()), servers.block_on(theirs())];
    let contenders = [theirs[0], listener.address(), theirs[1]];
    let thread = told.recv().expect("there is a thread");
    let thread = Path::new("/proc").join(thread.expect("this is Linux"));

    let clients = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for habit in [Habit::KeepAlive, Habit::Close] {
        let turn = async |contender: usize| turn(contenders[contender], habit, &thread).await;
        report(habit, &clients.block_on(take_turns(ROUNDS, turn)));
    }
}

fn report(habit: Habit, [theirs, ours, again]: &[Vec<Turn>; 3]) {
    println!("{habit:?}");
    for (name, turns) in [("axum::serve", theirs), ("the listener", ours)] {
        let median = |of: fn(&Turn) -> f64| quartiles(turns.iter().map(of).collect())[1];
        println!(
            "  {name:>12}: {:>6.0} answers/s, {:>5.2} µs of the thread each, which is busy for {:.0} %",
            median(RATE),
            median(|turn| 1e6 * turn.busy / turn.answers),
            median(|turn| 100.0 * turn.busy / turn.seconds),
        );
    }
    for (what, of) in [("in rate", RATE), ("per time of the thread", THRIFT)] {
        let values = |turns: &[Turn]| turns.iter().map(of).collect::<Vec<_>>();
        let [low, median, high] = quartiles(ratios(&values(ours), &values(theirs)));
        let [least, _, most] = quartiles(ratios(&values(again), &values(theirs)));
        println!(
            "  {median:.3} of axum::serve {what} (half of the rounds: {low:.3} to {high:.3}; \
             itself: {least:.3} to {most:.3})"
        );
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

/// Lets all clients ask a server, while this thread serves.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn turn(server: SocketAddr, habit: Habit, thread: &Path) -> Turn {
    let (before, began) = (cpu_time(thread), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(server, habit, began + TURN));
    }
    let answers: usize = clients.join_all().await.into_iter().sum();
    Turn {
        answers: answers as f64,
        seconds: began.elapsed().as_secs_f64(),
        busy: (cpu_time(thread) - before) as f64 / 1e9,
    }
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
