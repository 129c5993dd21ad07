//! Schedules of periodic tasks, as cron expressions.
//!
//! An expression has five fields: minute, hour, day of the month, month, day of the week. The time zone is
//! UTC, so that no hour is skipped or repeated. If both days are restricted, either matches. Names (`JAN`,
//! `MON`) and `L` for the last day are allowed.
//!
//! Not allowed are fields for seconds or years, nicknames (`@daily`), a name in the wrong field, and a
//! schedule that never matches, such as the 31st of February.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use config::ValueKind;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::settings::Setting;

/// The times at which a task runs. Parse it, `"0 4 * * *".parse()`, or use it as the type of a setting.
#[derive(Clone)]
pub struct Schedule {
    text: Arc<str>,
    cron: Arc<Cron>,
}

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the schedule {text:?} {why}; expected {}", Schedule::EXPECTED)]
pub struct ScheduleError {
    text: String,
    why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error("has {0} fields")]
    Fields(usize),
    #[error("has {given:?} for its {field}")]
    Field { field: &'static str, given: String },
    #[error("never comes")]
    Never,
}

/// A field: what it is called, and the names and letters that can stand in it.
type Field = (&'static str, &'static [&'static str]);

const FIELDS: [Field; 5] = [
    ("minute", &[]),
    ("hour", &[]),
    ("day of the month", &["L", "W", "LW"]),
    (
        "month",
        &[
            "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
        ],
    ),
    (
        "day of the week",
        &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "L"],
    ),
];

/// Instead of a moment beyond croner's calendar, which ends in the year 5000: longer than a process
/// lives.
const NEVER: Duration = Duration::from_hours(10 * 366 * 24);

impl Schedule {
    /// The first moment after this one.
    pub(super) fn after(&self, time: SystemTime) -> SystemTime {
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
        understood(text).map_err(|why| ScheduleError {
            text: text.to_owned(),
            why,
        })
    }
}

fn understood(text: &str) -> Result<Schedule, Why> {
    let fields: Vec<_> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(Why::Fields(fields.len()));
    }
    for (index, given) in fields.iter().enumerate() {
        if !holds(index, given) {
            let given = (*given).to_owned();
            let (field, _) = FIELDS[index];
            return Err(Why::Field { field, given });
        }
    }
    let schedule = Schedule {
        text: text.into(),
        cron: parsed(text).ok_or(Why::Never)?.into(),
    };
    let comes = schedule.next(UNIX_EPOCH).is_some();
    comes.then_some(schedule).ok_or(Why::Never)
}

/// Whether a field is right by itself.
fn holds(index: usize, given: &str) -> bool {
    let mut alone = ["*"; FIELDS.len()];
    alone[index] = given;
    let (_, names) = FIELDS[index];
    // The parser takes a name for its number wherever it stands.
    let in_place = given
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
        .all(|word| names.iter().any(|name| name.eq_ignore_ascii_case(word)));
    in_place && parsed(&alone.join(" ")).is_some()
}

fn parsed(text: &str) -> Option<Cron> {
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    parser.parse(text).ok()
}

impl Setting for Schedule {
    const EXPECTED: &'static str = "minute, hour, day, month and weekday in UTC, such as \
         `0 4 * * *` (daily at 4:00) or `*/15 * * * MON-FRI`";

    fn parse(value: &ValueKind) -> Option<Self> {
        String::parse(value)?.parse().ok()
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
