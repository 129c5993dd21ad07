//! What the listener costs, beside `axum::serve`: `cargo bench --bench serving`.
//!
//! The same route behind both, on one runtime of one thread, and the same clients on a thread of
//! their own. They take turns of a second, theirs, ours, ours, theirs, so that a noisy machine is as
//! noisy for each; the middle of the rounds counts. `axum::serve` against itself tells how much of a
//! difference is noise.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::JoinSet;

use app::frame::server::{Limits, Listener, Sockets};

// The library of this package.{{ nl }}use {{ crate_name }} as app;{% comment %}
use beacon as app;
// {% endcomment %}

const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_secs(1);
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

fn main() {
    let thread = Arc::new(OnceLock::new());
    let known = Arc::clone(&thread);
    let servers = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .on_thread_start(move || _ = known.set(fs::read_link("/proc/thread-self").ok()))
        .enable_all()
        .build()
        .expect("a runtime");
    let theirs = [servers.block_on(theirs()), servers.block_on(theirs())];
    let ours = servers.block_on(async { ours() });
    // Linux tells what a thread has used; elsewhere, the rates will do.
    let thread = thread.get().cloned().flatten();
    let thread = thread.map(|thread| PathBuf::from("/proc").join(thread).join("schedstat"));

    let clients = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for (what, habit, pair) in [
        ("keep-alive", Habit::KeepAlive, [theirs[0], ours.address()]),
        (
            "connection: close",
            Habit::Close,
            [theirs[0], ours.address()],
        ),
        ("noise, keep-alive", Habit::KeepAlive, theirs),
        ("noise, connection: close", Habit::Close, theirs),
    ] {
        let mut rates: [Vec<f64>; 2] = Default::default();
        let mut costs: [Vec<f64>; 2] = Default::default();
        for _ in 0..ROUNDS {
            for which in [0, 1, 1, 0] {
                let before = used(thread.as_ref());
                let (answers, time) = clients.block_on(turn(pair[which], habit));
                let used = used(thread.as_ref()) - before;
                rates[which].push(answers / time.as_secs_f64());
                costs[which].push(used.as_secs_f64() * 1e6 / answers);
            }
        }
        let faster = median_ratio(&rates[1], &rates[0]);
        let dearer = median_ratio(&costs[1], &costs[0]);
        let [their_rate, our_rate] = rates.map(median);
        let [their_cost, our_cost] = costs.map(median);
        println!(
            "{what:>24}: {their_rate:>6.0} and {our_rate:>6.0} requests/s, ratio {faster:.3}; \
             {their_cost:>5.2} and {our_cost:>5.2} µs of the thread each, ratio {dearer:.3}"
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
    let mut sockets = Sockets::of_process(&[]);
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
            match stream.read_buf(&mut answer).await.expect("it answers") {
                0 => break,
                _ => continue,
            }
        }
        assert!(answer.ends_with(BODY.as_bytes()), "half an answer");
        answers += 1;
        kept = (habit == Habit::KeepAlive).then_some(stream);
    }
    answers
}

/// The time for which the thread of the servers has been running.
fn used(thread: Option<&PathBuf>) -> Duration {
    let told = thread.and_then(|thread| fs::read_to_string(thread).ok());
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// The middle of the rounds' ratios: each round compares what ran at about the same time.
fn median_ratio(ours: &[f64], theirs: &[f64]) -> f64 {
    let rounds = ours.chunks(2).zip(theirs.chunks(2));
    median(
        rounds
            .map(|(ours, theirs)| ours.iter().sum::<f64>() / theirs.iter().sum::<f64>())
            .collect(),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
