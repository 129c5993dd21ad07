//! Whether checks go on being made and written down, for the health check `monitor`.
//!
//! It fails when for [`LATE`] nobody has looked for what is due, or results were there to be written and none
//! was: the database may be slow or full, a lock be held, a task be paused or given up. What targets are
//! found to be makes no difference to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// By then, what happens once a second should have happened again.
pub(super) const LATE: Duration = Duration::from_secs(30);

/// All clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Work(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// When the schedule was last looked at, in a process that does so.
    scheduled: Option<Instant>,
    /// Results that are not written yet, …
    unwritten: usize,
    /// … and since when nothing was done about it.
    waiting: Option<Instant>,
}

impl Work {
    /// The schedule was looked at, and what is due is taken on.
    pub(super) fn scheduled(&self) {
        self.lock().scheduled = Some(Instant::now());
    }

    /// There is one more result to be written.
    pub(super) fn reported(&self) {
        let mut work = self.lock();
        work.unwritten += 1;
        work.waiting = work.waiting.or_else(|| Some(Instant::now()));
    }

    /// So many of them are.
    pub(super) fn written(&self, results: usize) {
        let mut work = self.lock();
        work.unwritten = work.unwritten.saturating_sub(results);
        work.waiting = (work.unwritten > 0).then(Instant::now);
    }

    /// Whether all of it goes on; if not, what does not.
    pub(super) fn goes_on(&self) -> Result<(), String> {
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
    async fn results_that_nobody_writes_are_noticed() {
        let work = Work::default();
        for _ in 0..3 {
            work.reported();
        }
        advance(ALMOST).await;
        work.written(2);
        advance(ALMOST).await;
        assert_eq!(work.goes_on(), Ok(()), "one after the other is written");

        // Another one makes those that wait no younger.
        work.reported();
        advance(MOMENT).await;
        let told = work.goes_on().unwrap_err();
        assert_eq!(told, "2 results, and none was written for 30 s");

        work.written(2);
        advance(LATE * 2).await;
        assert_eq!(work.goes_on(), Ok(()), "there is nothing to be written");
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_scheduler_is_noticed_where_it_should_run() {
        let work = Work::default();
        advance(LATE * 2).await;
        assert_eq!(work.goes_on(), Ok(()), "this process does not");

        work.scheduled();
        advance(ALMOST).await;
        assert_eq!(work.goes_on(), Ok(()));
        advance(MOMENT).await;
        let told = work.goes_on().unwrap_err();
        assert_eq!(told, "nothing was scheduled for 30 s");
        work.scheduled();
        assert_eq!(work.goes_on(), Ok(()));
    }
}
