//! Supervision in paused time: the fixtures of the tests.

mod kinds;
mod log;
mod orders;
mod restarts;
#[cfg(feature = "cron")]
pub(super) mod schedules;
mod stops;
mod stubborn;

use std::future::{Pending, Ready, pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Events in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Counts the concurrent runs of a task, each of which holds an instance.
#[derive(Clone, Default)]
struct Instances(Arc<(Arc<()>, AtomicUsize)>);

impl Instances {
    fn enter(&self) -> Arc<()> {
        let instance = Arc::clone(&self.0.0);
        self.0.1.fetch_max(self.now(), Ordering::SeqCst);
        instance
    }

    /// This task, with its runs counted.
    fn of<F: Future<Output: Send> + Send + 'static>(
        &self,
        make: impl Fn(Context) -> F + Send + Sync + 'static,
    ) -> impl Fn(Context) -> BoxFuture<'static, F::Output> + Send + Sync + 'static {
        let instances = self.clone();
        move |context| {
            let instance = instances.enter();
            make(context).inspect(move |_| drop(instance)).boxed()
        }
    }

    fn now(&self) -> usize {
        Arc::strong_count(&self.0.0) - 1
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }
}

fn status(supervisor: &Supervisor, name: &str) -> Status {
    let statuses = supervisor.statuses();
    let found = statuses.into_iter().find(|status| &*status.name == name);
    found.expect("the task is known")
}

fn last_error(supervisor: &Supervisor, name: &str) -> String {
    status(supervisor, name).last_error.unwrap_or_default()
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

/// Stops, and returns what was aborted and how long it took.
async fn timed_stop(supervisor: &Supervisor, within: Duration) -> (Vec<String>, Duration) {
    let began = Instant::now();
    (supervisor.stop(within).await, began.elapsed())
}

/// A task that does nothing until it is cancelled.
async fn idle(context: Context) {
    context.cancelled().await;
}

/// A task that ignores its cancellation.
fn deaf(_: Context) -> Pending<()> {
    pending()
}

/// A task that fails at once.
fn fails(_: Context) -> Ready<Result<(), &'static str>> {
    ready(Err("again"))
}

/// A task whose runs know their numbers, from 0.
fn numbered<F>(
    run: impl Fn(usize) -> F + Send + Sync + 'static,
) -> impl Fn(Context) -> F + Send + Sync + 'static {
    let runs = AtomicUsize::new(0);
    move |_| run(runs.fetch_add(1, Ordering::SeqCst))
}

/// A task that takes this time to stop.
fn slow_to_stop(
    journal: &Journal,
    name: &'static str,
    time: Duration,
) -> impl Fn(Context) -> BoxFuture<'static, ()> + Send + Sync + 'static {
    let journal = journal.clone();
    move |context| {
        let journal = journal.clone();
        let run = async move {
            context.cancelled().await;
            journal.note(format!("{name} is cancelled"));
            sleep(time).await;
            journal.note(format!("{name} ends"));
        };
        run.boxed()
    }
}

/// Panics at the place of the caller. Returns a type, so that it can be the whole body of a future.
#[track_caller]
fn panics(words: &str) {
    panic!("{words}")
}

/// Panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panics("dropped");
    }
}
