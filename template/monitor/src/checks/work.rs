//! The health check `monitor`: whether checks are scheduled, and results written.
//!
//! It fails when the scheduler has not run for [`LATE`], or when results wait for that long and none was
//! written: the database may be slow or full, a lock held, a task paused or given up. The results themselves
//! do not matter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time by which an action that happens each second should have happened again.
pub(super) const LATE: Duration = Duration::from_secs(30);

/// Clones share their state.
#[derive(Debug, Clone, Default)]
pub(super) struct Work(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The last run of the scheduler, if this process has one.
    scheduled: Option<Instant>,
    /// The number of results that are not written yet.
    unwritten: usize,
    /// Since when no result was written.
    waiting: Option<Instant>,
}

impl Work {
    /// The scheduler has run.
    pub(super) fn scheduled(&self) {
        self.lock().scheduled = Some(Instant::now());
    }

    /// There is one more result to write.
    pub(super) fn reported(&self) {
        let mut work = self.lock();
        work.unwritten += 1;
        work.waiting = work.waiting.or_else(|| Some(Instant::now()));
    }

    /// These results are written.
    pub(super) fn written(&self, results: usize) {
        let mut work = self.lock();
        work.unwritten = work.unwritten.saturating_sub(results);
        work.waiting = (work.unwritten > 0).then(Instant::now);
    }

    /// Fails with the part that is stuck.
    pub(super) fn check_progress(&self) -> Result<(), String> {
        let work = self.lock();
        let late = |since: Option<Instant>| {
            let time = since.map(|since| since.elapsed());
            time.filter(|time| *time >= LATE).map(|it| it.as_secs())
        };
        if let Some(seconds) = late(work.waiting) {
            let count = work.unwritten;
            return Err(format!(
                "{count} results, and none was written for {seconds} s"
            ));
        }
        match late(work.scheduled) {
            Some(seconds) => Err(format!("nothing was scheduled for {seconds} s")),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    const ALMOST: Duration = LATE.saturating_sub(MOMENT);

    #[tokio::test(start_paused = true)]
    async fn unwritten_results_are_noticed() {
        let work = Work::default();
        for _ in 0..3 {
            work.reported();
        }
        advance(ALMOST).await;
        work.written(2);
        advance(ALMOST).await;
        assert_eq!(
            work.check_progress(),
            Ok(()),
            "one after the other is written"
        );

        // A new result does not make the waiting ones younger.
        work.reported();
        advance(MOMENT).await;
        let told = work.check_progress().unwrap_err();
        assert_eq!(told, "2 results, and none was written for 30 s");

        work.written(2);
        advance(LATE * 2).await;
        assert_eq!(
            work.check_progress(),
            Ok(()),
            "there is nothing to be written"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_scheduler_is_noticed_where_it_should_run() {
        let work = Work::default();
        advance(LATE * 2).await;
        assert_eq!(work.check_progress(), Ok(()), "this process does not");

        work.scheduled();
        advance(ALMOST).await;
        assert_eq!(work.check_progress(), Ok(()));
        advance(MOMENT).await;
        let told = work.check_progress().unwrap_err();
        assert_eq!(told, "nothing was scheduled for 30 s");
        work.scheduled();
        assert_eq!(work.check_progress(), Ok(()));
    }
}
