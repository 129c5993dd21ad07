//! What supervision costs, beside tokio's own ways to start a task: `cargo bench --bench
//! supervision`.
//!
//! All of them in one run and in turns, so that a noisy machine is as noisy for each; the middle
//! of seven turns counts.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "nobody else is on its threads")]

use std::time::{Duration, Instant};

use mainstay::supervisor::{Context, Supervisor};
use tokio::task::{JoinSet, yield_now};

const SHOTS: u32 = 200_000;
const TURNS: usize = 7;

#[tokio::main]
async fn main() {
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..TURNS {
        times[0].push(bare().await);
        times[1].push(join_set().await);
        times[2].push(one_shots().await);
    }
    for (name, times) in ["tokio::spawn", "JoinSet", "Supervisor::spawn"]
        .iter()
        .zip(&mut times)
    {
        times.sort();
        println!(
            "{name:>18}: {:>5} ns a task",
            (times[TURNS / 2] / SHOTS).as_nanos()
        );
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
async fn bare() -> Duration {
    let began = Instant::now();
    let tasks: Vec<_> = (0..SHOTS).map(|_| tokio::spawn(yield_now())).collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
    began.elapsed()
}

async fn join_set() -> Duration {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..SHOTS {
        tasks.spawn(yield_now());
    }
    while tasks.join_next().await.is_some() {}
    began.elapsed()
}

async fn one_shots() -> Duration {
    let began = Instant::now();
    let supervisor = Supervisor::new();
    for _ in 0..SHOTS {
        supervisor
            .spawn("shot", yield_now())
            .expect("it is not stopping");
    }
    let left = supervisor.stop(Duration::from_hours(1)).await;
    assert!(left.is_empty(), "{left:?}");
    began.elapsed()
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
