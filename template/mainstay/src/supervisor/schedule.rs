//! Schedules of periodic tasks, as cron expressions.
//!
//! An expression has five fields: minute, hour, day of the month, month, day of the week. The time zone is
//! UTC, so that no hour is skipped or repeated. If both days are restricted, either matches. Names (`JAN`,
//! `MON`) and `L` for the last day are allowed.
//!
//! Not allowed are fields for seconds or years, nicknames (`@daily`), a name in the wrong field, and a
//! schedule that never matches, such as the 31st of February.
//!
//! A schedule follows the wall clock, which may be set, and which goes on while the machine sleeps. The
//! supervisor compares it with the schedule once a minute, so that a run is late by a minute at most. Times
//! that the machine slept through, or that the clock skipped, cause one run together.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Deserializer};

use super::wall_clock;
use crate::settings;

/// The times at which a task runs. Parse it, `"0 4 * * *".parse()`, or use it as the type of a setting.
#[derive(Clone)]
pub struct Schedule {
    text: Arc<str>,
    cron: Arc<Cron>,
}

const EXPECTED: &str = "minute, hour, day, month and weekday in UTC, such as \
     `0 4 * * *` (daily at 4:00) or `*/15 * * * MON-FRI`";

/// A text that is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a schedule; expected {expected}", expected = EXPECTED)]
pub struct ScheduleError(String);

/// The names and letters that each field can have. The parser takes a name for its number in any field.
const NAMES: [&str; 5] = [
    "",
    "",
    "L W LW",
    "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC",
    "SUN MON TUE WED THU FRI SAT L",
];

/// Stands for a time after the year 5000, where croner's calendar ends.
const NEVER: Duration = Duration::from_hours(10 * 366 * 24);

impl Schedule {
    fn after(&self, time: SystemTime) -> SystemTime {
        self.next(time).unwrap_or(time + NEVER)
    }

    fn next(&self, time: SystemTime) -> Option<SystemTime> {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = DateTime::from_timestamp(since.as_secs().try_into().ok()?, 0)?;
        let next = self.cron.find_next_occurrence(&since, false).ok()?;
        let next = next.timestamp().try_into().ok()?;
        Some(UNIX_EPOCH + Duration::from_secs(next))
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let schedule = || {
            let fields: Vec<_> = text.split_whitespace().collect();
            let names_fit = fields.iter().zip(NAMES).all(|(field, names)| {
                field
                    .split(|c: char| !c.is_alphabetic())
                    .filter(|word| !word.is_empty())
                    .all(|word| names.split(' ').any(|name| name.eq_ignore_ascii_case(word)))
            });
            if fields.len() != NAMES.len() || !names_fit {
                return None;
            }
            let schedule = Self {
                text: text.into(),
                cron: parser.parse(text).ok()?.into(),
            };
            schedule.next(UNIX_EPOCH).map(|_| schedule)
        };
        schedule().ok_or_else(|| ScheduleError(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        settings::from_text(value, EXPECTED, |text| text.parse().ok())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({:?})", self.text)
    }
}

/// The next time of a schedule.
#[derive(Debug, Clone)]
pub(super) struct Occurrence {
    schedule: Schedule,
    at: SystemTime,
    /// The times of the schedule up to here have had their run.
    done_until: SystemTime,
}

/// A clock that is set back by less is corrected, and a time that comes again has had its run. A clock that is
/// set back by more was wrong before, and the runs until then do not count.
const MAX_CORRECTION: Duration = Duration::from_hours(3);

impl Occurrence {
    pub(super) fn new(schedule: Schedule) -> Self {
        let now = wall_clock();
        Self {
            schedule,
            at: now,
            done_until: now,
        }
    }

    pub(super) fn left(&mut self, jitter: Duration) -> Duration {
        let now = wall_clock();
        if self.done_until > now + MAX_CORRECTION {
            self.done_until = now;
            self.at = self.schedule.after(now);
        }
        (self.at + jitter).duration_since(now).unwrap_or_default()
    }

    pub(super) fn advance(&mut self) {
        self.done_until = wall_clock().max(self.at);
        self.at = self.schedule.after(self.done_until);
    }
}
