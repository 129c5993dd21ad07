//! Supervision in paused time: what the tests have in common.

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

/// What happened, in order, and when.
#[derive(Clone)]
struct Diary(Arc<Mutex<Vec<(Duration, String)>>>, Instant);

impl Diary {
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

/// Counts its instances, so that a test can tell when there are two.
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

/// A task that does nothing until it is told to end.
async fn idle(context: Context) {
    context.cancelled().await;
}

/// A panic that has a type, so that it can be all of a future. It is where this is called.
#[track_caller]
fn panics(words: &str) {
    panic!("{words}")
}

/// An error that cannot be told.
struct Speechless;

impl std::fmt::Display for Speechless {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words for it")
    }
}

/// A future that ends at once, and panics when it is dropped.
struct Clings(&'static str);

impl Future for Clings {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }
}

impl Drop for Clings {
    fn drop(&mut self) {
        panics(self.0);
    }
}
