//! When the runs of a periodic task are due.

use std::time::Duration;
#[cfg(feature = "cron")]
use std::time::SystemTime;

use tokio::time::Instant;

#[cfg(feature = "cron")]
use super::clock;
#[cfg(feature = "cron")]
use super::schedule::Schedule;

/// What a periodic task goes by.
#[derive(Debug, Clone)]
pub(super) enum Rhythm {
    /// Ticks of the monotonic clock.
    Every(Duration),
    /// Moments of the clock on the wall.
    #[cfg(feature = "cron")]
    At(Schedule),
}

/// The next run. What has passed when it is asked for again is skipped.
#[derive(Debug)]
pub(super) enum Due {
    Tick {
        at: Instant,
        interval: Duration,
    },
    #[cfg(feature = "cron")]
    Moment {
        at: SystemTime,
        /// The moments up to here have had their run, or are not meant.
        since: SystemTime,
        schedule: Schedule,
    },
}

/// A clock that is set back by more was wrong before, and what came of that is forgotten. With
/// less, it is corrected, and a moment that comes again has had its run.
#[cfg(feature = "cron")]
const CORRECTION: Duration = Duration::from_hours(3);

impl Rhythm {
    /// The first run: now, or when the rhythm has it.
    pub(super) fn start(&self, now: bool) -> Due {
        let mut due = match self {
            Self::Every(interval) => Due::Tick {
                at: Instant::now(),
                // With none at all, there would be no time for anything else.
                interval: (*interval).max(Duration::from_millis(1)),
            },
            #[cfg(feature = "cron")]
            Self::At(schedule) => {
                let now = clock::now();
                Due::Moment {
                    at: now,
                    since: now,
                    schedule: schedule.clone(),
                }
            }
        };
        if !now {
            due.advance();
        }
        due
    }
}

impl Due {
    /// How long until this much after it is due.
    pub(super) fn left(&mut self, jitter: Duration) -> Duration {
        match self {
            Self::Tick { at, .. } => (*at + jitter).saturating_duration_since(Instant::now()),
            #[cfg(feature = "cron")]
            Self::Moment {
                at,
                since,
                schedule,
            } => {
                let now = clock::now();
                if *since > now + CORRECTION {
                    *since = now;
                    *at = schedule.after(now);
                }
                (*at + jitter).duration_since(now).unwrap_or_default()
            }
        }
    }

    /// Goes on to the first after now.
    pub(super) fn advance(&mut self) {
        match self {
            Self::Tick { at, interval } => {
                let now = Instant::now();
                while *at <= now {
                    *at += *interval;
                }
            }
            #[cfg(feature = "cron")]
            Self::Moment {
                at,
                since,
                schedule,
            } => {
                *since = clock::now().max(*at);
                *at = schedule.after(*since);
            }
        }
    }
}
