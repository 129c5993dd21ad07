//! Schedules of periodic tasks, as cron expressions.
//!
//! An expression has five fields: minute, hour, day of the month, month, day of the week. The time zone is
//! UTC, so that no hour is skipped or repeated. If both days are restricted, either matches. Names (`JAN`,
//! `MON`) and `L` for the last day are allowed.
//!
//! Not allowed are fields for seconds or years, nicknames (`@daily`), and a schedule that never matches, such
//! as the 31st of February.
//!
//! A schedule follows the wall clock, and is compared with it once a minute, so that a run is late by a minute at
//! most. Times that the machine slept through cause one run together. A clock that is set back repeats no run.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use serde::{Deserialize, Deserializer};

use crate::settings;

/// The times at which a task runs. Parse it, `"0 4 * * *".parse()`, or use it as the type of a setting.
#[derive(Debug, Clone)]
pub struct Schedule(Arc<Cron>);

const EXPECTED: &str = "minute, hour, day, month and weekday in UTC, such as \
     `0 4 * * *` (daily at 4:00) or `*/15 * * * MON-FRI`";

/// A text that is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a schedule; expected {expected}", expected = EXPECTED)]
pub struct ScheduleError(String);

impl Schedule {
    /// The first time of the schedule after this one. croner's calendar ends in the year 5000.
    pub(super) fn after(&self, time: SystemTime) -> SystemTime {
        const NEVER: Duration = Duration::from_hours(10 * 366 * 24);
        let next = self
            .0
            .find_next_occurrence(&DateTime::<Utc>::from(time), false);
        next.map_or(time + NEVER, SystemTime::from)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).ok().filter(|cron| {
            // The parser accepts nicknames, and days that no month has.
            let matches = cron.find_next_occurrence(&DateTime::UNIX_EPOCH, false);
            text.split_whitespace().count() == 5 && matches.is_ok()
        });
        let cron = cron.ok_or_else(|| ScheduleError(text.to_owned()))?;
        Ok(Self(cron.into()))
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        settings::from_text(value, EXPECTED, |text| text.parse().ok())
    }
}
