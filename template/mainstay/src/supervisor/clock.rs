//! The clock on the wall: unlike tokio's, it can be set, and goes on while the machine sleeps.

use std::time::SystemTime;

pub(super) fn now() -> SystemTime {
    #[cfg(all(test, feature = "cron"))]
    if let Some(time) = for_tests::now() {
        return time;
    }
    SystemTime::now()
}

#[cfg(all(test, feature = "cron"))]
pub(super) use for_tests::set;

/// A clock that can be set, and goes with tokio's from there.
#[cfg(all(test, feature = "cron"))]
mod for_tests {
    use std::cell::Cell;
    use std::time::SystemTime;

    use tokio::time::Instant;

    thread_local! {
        static SET: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
    }

    pub(super) fn now() -> Option<SystemTime> {
        SET.get().map(|(at, time)| time + at.elapsed())
    }

    /// Sets the clock of this thread, which is that of one test and all of its tasks.
    pub(in super::super) fn set(time: &str) {
        let time = humantime::parse_rfc3339(time).expect("a moment in UTC");
        SET.set(Some((Instant::now(), time)));
    }
}
