//! The task that runs checks: at most `monitor.checks_at_once` at once.
//!
//! - While all are running, nothing is taken from the queue, so that the queue fills up and callers notice.
//! - A check that panics is lost, and affects no other.
//! - At the stop, running checks have a time limit to finish. The others are cancelled, and have one second
//!   to be postponed, so that another process makes them.

use std::sync::Arc;
use std::time::Duration;

use mainstay::supervisor::{Context, SpawnError, Supervisor};
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::queue::{Job, Waiting};

const NAME: &str = "checkers";

/// The number of checks at once, and their time limit at the stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) at_once: usize,
    pub(super) finish: Duration,
}

/// The time limit for postponing cancelled checks.
const POSTPONE_LIMIT: Duration = Duration::from_secs(1);

/// Starts the task, which calls `check` with each job and a token that cancels it.
pub(super) fn start<C, F>(
    supervisor: &Supervisor,
    waiting: Waiting,
    limits: Limits,
    check: C,
) -> Result<(), SpawnError>
where
    C: Fn(Job, CancellationToken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    // A restarted run continues with the same queue.
    let waiting = Arc::new(Mutex::new(waiting));
    let task = supervisor.task(NAME).stop_within(limits.finish * 2);
    task.run(move |context| {
        let (waiting, check) = (Arc::clone(&waiting), check.clone());
        async move {
            let mut waiting = waiting.lock().await;
            work(&context, &mut waiting, limits, check).await;
        }
    })
}

async fn work<F: Future<Output = ()> + Send + 'static>(
    context: &Context,
    waiting: &mut Waiting,
    limits: Limits,
    check: impl Fn(Job, CancellationToken) -> F,
) {
    let mut running = JoinSet::new();
    let cancel = CancellationToken::new();
    // The future of a check is large, and a task is moved before it runs. A box makes that cheap.
    let check = |job| Box::pin(check(job, cancel.clone()));
    loop {
        tokio::select! {
            biased;
            () = context.cancelled() => break,
            Some(ended) = running.join_next() => log_panic(ended),
            job = waiting.next(), if running.len() < limits.at_once => {
                running.spawn(check(job));
            }
        }
    }
    _ = timeout(limits.finish, all(&mut running)).await;
    cancel.cancel();
    while let Some(job) = waiting.left() {
        running.spawn(check(job));
    }
    let left = running.len();
    if left > 0 {
        tracing::info!(left, "unfinished checks are postponed");
        _ = timeout(POSTPONE_LIMIT, all(&mut running)).await;
    }
}

/// Waits until all have ended.
async fn all(running: &mut JoinSet<()>) {
    while let Some(ended) = running.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a check panicked");
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::checks::due::tests::due;
    use crate::checks::queue::{Lane, Queue, queue};

    const LIMITS: Limits = Limits {
        at_once: 3,
        finish: Duration::from_secs(2),
    };

    #[derive(Debug, PartialEq, Eq)]
    enum Event {
        Begun(i64),
        Ended(i64),
        PutOff(i64),
    }

    /// Checkers with checks of this duration, and a queue with this many.
    fn checkers(
        waiting_now: i64,
        takes: Duration,
    ) -> (Supervisor, Queue, mpsc::UnboundedReceiver<Event>) {
        let (queue, waiting) = queue(100);
        for target in 0..waiting_now {
            assert!(queue.push(Lane::Scheduled, due(target)));
        }
        let (tell, events) = mpsc::unbounded_channel();
        let check = move |job: Job, cancel: CancellationToken| {
            let tell = tell.clone();
            async move {
                let Job::Due(due) = job else {
                    panic!("{job:?}");
                };
                if !cancel.is_cancelled() {
                    _ = tell.send(Event::Begun(due.target));
                    assert!(due.target != 13, "unlucky");
                }
                let end = tokio::select! {
                    biased;
                    () = cancel.cancelled() => Event::PutOff(due.target),
                    () = sleep(takes) => Event::Ended(due.target),
                };
                _ = tell.send(end);
            }
        };
        let supervisor = Supervisor::new();
        start(&supervisor, waiting, LIMITS, check).unwrap();
        (supervisor, queue, events)
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_checks_are_limited() {
        let (_supervisor, queue, mut events) = checkers(10, Duration::from_secs(1));
        let (mut running, mut most, mut ended) = (0, 0, 0);
        let began = Instant::now();

        while ended < 10 {
            match events.recv().await.unwrap() {
                Event::Begun(_) => running += 1,
                Event::Ended(_) => {
                    running -= 1;
                    ended += 1;
                }
                Event::PutOff(target) => panic!("{target} was put off"),
            }
            most = most.max(running);
        }

        assert_eq!(most, 3);
        assert_eq!(began.elapsed(), Duration::from_secs(4));
        assert_eq!(queue.room(Lane::Scheduled), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn panicking_check_affects_no_other() {
        let (supervisor, queue, mut events) = checkers(0, Duration::ZERO);
        for target in [13, 13, 13, 13, 14] {
            assert!(queue.push(Lane::Scheduled, due(target)));
        }
        while events.recv().await.unwrap() != Event::Ended(14) {}
        assert_eq!(supervisor.statuses()[0].restarts, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn stop_finishes_running_and_postpones_queued_checks() {
        let (supervisor, queue, mut events) = checkers(5, Duration::from_secs(1));
        for _ in 0..3 {
            events.recv().await.unwrap();
        }

        let aborted = supervisor.stop(Duration::from_secs(5)).await;

        assert!(aborted.is_empty(), "{aborted:?}");
        let mut ended: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        ended.sort_by_key(|event| match event {
            Event::Begun(target) | Event::Ended(target) | Event::PutOff(target) => *target,
        });
        let (finished, put_off) = ended.split_at(3);
        assert_eq!(finished, [0, 1, 2].map(Event::Ended));
        assert_eq!(put_off, [3, 4].map(Event::PutOff));
        assert_eq!(queue.room(Lane::Scheduled), 100, "the queue is empty");
    }

    #[tokio::test(start_paused = true)]
    async fn stop_postpones_slow_checks_and_aborts_none() {
        let (supervisor, _queue, mut events) = checkers(1, Duration::from_hours(1));
        events.recv().await.unwrap();
        let began = Instant::now();

        let aborted = supervisor.stop(Duration::from_secs(5)).await;

        assert!(aborted.is_empty(), "{aborted:?}");
        assert_eq!(began.elapsed(), LIMITS.finish);
        assert_eq!(events.try_recv(), Ok(Event::PutOff(0)));
    }
}
