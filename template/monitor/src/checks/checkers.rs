//! The task that makes checks: no more at once than `monitor.checks_at_once`.
//!
//! - While it has as many as it may, nothing is taken from the queue, so that the queue fills up and
//!   nothing more is put in.
//! - A check that panics is one check less, and nothing else.
//! - At the stop, what runs has a while to finish. What does not, and what waits, is given up: whoever made it
//!   has a moment to put it off, for somebody else to make it.

use std::sync::Arc;
use std::time::Duration;

use mainstay::supervisor::{Context, SpawnError, Supervisor};
use tokio::sync::Mutex;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::queue::{Errand, Waiting};

const NAME: &str = "checkers";

/// How many there are, and how long they have at the stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) at_once: usize,
    pub(super) finish: Duration,
}

/// For what is given up to be put off.
const MOMENT: Duration = Duration::from_secs(1);

/// Starts the task, which calls `check` for whatever waits, with what tells that it is given up.
pub(super) fn start<C, F>(
    supervisor: &Supervisor,
    waiting: Waiting,
    limits: Limits,
    check: C,
) -> Result<(), SpawnError>
where
    C: Fn(Errand, CancellationToken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    // A run that is started again goes on where the one before has ended.
    let waiting = Arc::new(Mutex::new(waiting));
    let task = supervisor.task(NAME).stop_within(limits.finish * 2);
    let started = task.run(move |context| {
        let (waiting, check) = (Arc::clone(&waiting), check.clone());
        async move {
            let mut waiting = waiting.lock().await;
            work(&context, &mut waiting, limits, check).await;
        }
    });
    started.map(drop)
}

async fn work<F: Future<Output = ()> + Send + 'static>(
    context: &Context,
    waiting: &mut Waiting,
    limits: Limits,
    check: impl Fn(Errand, CancellationToken) -> F,
) {
    let mut running = JoinSet::new();
    let given_up = CancellationToken::new();
    // A task is moved about before it runs: a check, which has room for everything that may come of it, in a box.
    let check = |errand| Box::pin(check(errand, given_up.clone()));
    loop {
        tokio::select! {
            biased;
            () = context.cancelled() => break,
            Some(ended) = running.join_next() => tell(ended),
            errand = waiting.next(), if running.len() < limits.at_once => {
                running.spawn(check(errand));
            }
        }
    }
    _ = timeout(limits.finish, all(&mut running)).await;
    given_up.cancel();
    while let Some(errand) = waiting.left() {
        running.spawn(check(errand));
    }
    let left = running.len();
    if left > 0 {
        tracing::info!(left, "checks that did not finish are left to be made again");
        _ = timeout(MOMENT, all(&mut running)).await;
    }
}

/// Until all have ended.
async fn all(running: &mut JoinSet<()>) {
    while let Some(ended) = running.join_next().await {
        tell(ended);
    }
}

fn tell(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a check has failed");
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

    /// Checkers whose checks take this long, and a queue with so many in it.
    fn checkers(
        waiting_now: i64,
        takes: Duration,
    ) -> (Supervisor, Queue, mpsc::UnboundedReceiver<Event>) {
        let (queue, waiting) = queue(100);
        for target in 0..waiting_now {
            assert!(queue.push(Lane::Scheduled, due(target)));
        }
        let (tell, events) = mpsc::unbounded_channel();
        let check = move |errand: Errand, given_up: CancellationToken| {
            let tell = tell.clone();
            async move {
                let Errand::Due(due) = errand else {
                    panic!("{errand:?}");
                };
                if !given_up.is_cancelled() {
                    _ = tell.send(Event::Begun(due.target));
                    assert!(due.target != 13, "unlucky");
                }
                let end = tokio::select! {
                    biased;
                    () = given_up.cancelled() => Event::PutOff(due.target),
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
    async fn no_more_are_made_at_once_than_may_be() {
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
    async fn a_check_that_panics_takes_nothing_with_it() {
        let (supervisor, queue, mut events) = checkers(0, Duration::ZERO);
        for target in [13, 13, 13, 13, 14] {
            assert!(queue.push(Lane::Scheduled, due(target)));
        }
        while events.recv().await.unwrap() != Event::Ended(14) {}
        assert_eq!(supervisor.statuses()[0].restarts, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_stop_what_runs_is_finished_and_what_waits_is_put_off() {
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
        assert_eq!(queue.room(Lane::Scheduled), 100, "nobody waits");
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
