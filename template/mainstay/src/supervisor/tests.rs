//! Supervision in paused time: the fixtures of the tests.

mod kinds;
mod log;
mod orders;
mod restarts;
#[cfg(feature = "cron")]
pub(super) mod schedules;
mod stops;
mod stubborn;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Events in order, each with its time.
#[derive(Clone)]
struct Journal(Arc<Mutex<Vec<(Duration, String)>>>, Instant);

impl Journal {
    fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    fn note(&self, event: impl Into<String>) {
        self.0
            .lock()
            .unwrap()
            .push((self.1.elapsed(), event.into()));
    }

    fn events(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(_, event)| event.clone())
            .collect()
    }

    fn times(&self) -> Vec<Duration> {
        self.0
            .lock()
            .unwrap()
            .iter()
            .map(|(time, _)| *time)
            .collect()
    }

    fn count(&self, event: &str) -> usize {
        self.events().iter().filter(|noted| *noted == event).count()
    }
}

/// Counts the concurrent runs of a task.
#[derive(Clone, Default)]
struct Instances {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Instance(Arc<AtomicUsize>);

impl Instances {
    fn enter(&self) -> Instance {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Instance(Arc::clone(&self.now))
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn status(supervisor: &Supervisor, name: &str) -> Status {
    let statuses = supervisor.statuses();
    statuses
        .into_iter()
        .find(|status| &*status.name == name)
        .expect("the task is known")
}

/// Lets time pass until a task is in this state.
async fn reaches(supervisor: &Supervisor, name: &str, state: State) {
    for _ in 0..100_000 {
        if status(supervisor, name).state == state {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{name} is never {state:?}: {supervisor:?}");
}

/// A task that does nothing until it is cancelled.
async fn idle(context: Context) {
    context.cancelled().await;
}

/// Panics at the place of the caller. Returns a type, so that it can be the whole body of a future.
#[track_caller]
fn panics(words: &str) {
    panic!("{words}")
}

/// An error whose `Display` panics.
struct PanickingError;

impl std::fmt::Display for PanickingError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no message")
    }
}

/// A future that ends at once, and panics when it is dropped.
struct PanicsOnDrop(&'static str);

impl Future for PanicsOnDrop {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panics(self.0);
    }
}
