//! What supervision costs, beside tokio's own ways to start a task: `cargo bench --bench supervision`.
//!
//! All of them in one run and in turns; the median of the turns counts.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "nothing else runs on its threads"
)]

#[allow(dead_code, reason = "each benchmark uses a part")]
mod common;

use std::time::{Duration, Instant};

use common::{quartiles, take_turns};
use mainstay::supervisor::{Context, Supervisor};
use tokio::task::{JoinSet, yield_now};

const SHOTS: u32 = 200_000;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() {
    let turn = async |contender: usize| {
        let began = Instant::now();
        match contender {
            0 => bare().await,
            1 => join_set().await,
            _ => one_shots().await,
        }
        began.elapsed().as_secs_f64() * 1e9 / f64::from(SHOTS)
    };
    let costs: [Vec<f64>; 3] = take_turns(ROUNDS, turn).await;
    let names = ["tokio::spawn", "JoinSet", "Supervisor::spawn"];
    for (name, costs) in names.iter().zip(costs) {
        println!("{name:>18}: {:>5.0} ns a task", quartiles(costs)[1]);
    }
    for tasks in [1_000, 10_000, 100_000] {
        let (start, stop) = supervised(tasks).await;
        let each = |time: Duration| (time / tasks).as_nanos();
        println!(
            "{tasks:>7} supervised tasks: start {} ns, stop {} ns each",
            each(start),
            each(stop)
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "what it is compared with")]
async fn bare() {
    let tasks: Vec<_> = (0..SHOTS).map(|_| tokio::spawn(yield_now())).collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
}

async fn join_set() {
    let mut tasks = JoinSet::new();
    for _ in 0..SHOTS {
        tasks.spawn(yield_now());
    }
    while tasks.join_next().await.is_some() {}
}

async fn one_shots() {
    let supervisor = Supervisor::new();
    for _ in 0..SHOTS {
        let spawned = supervisor.spawn("shot", yield_now());
        spawned.expect("it is not stopping");
    }
    let left = supervisor.stop(Duration::from_hours(1)).await;
    assert!(left.is_empty(), "{left:?}");
}

async fn supervised(tasks: u32) -> (Duration, Duration) {
    let supervisor = Supervisor::new();
    let began = Instant::now();
    for number in 0..tasks {
        let task = supervisor.task(&format!("task-{number}"));
        let run = |context: Context| async move { context.cancelled().await };
        task.run(run).expect("the name is free");
    }
    let started = began.elapsed();
    let began = Instant::now();
    let left = supervisor.stop(Duration::from_hours(1)).await;
    assert!(left.is_empty(), "{left:?}");
    (started, began.elapsed())
}
