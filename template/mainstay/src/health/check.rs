//! A named check of a dependency: it runs in the background, and probes read its result.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::importance::Importance;
use crate::panics;

/// A check fails after so many failures in a row, and recovers with one success.
const FAILURES: u32 = 3;

#[derive(Debug)]
pub(super) struct Check {
    name: String,
    importance: Importance,
    timeout: Duration,
    /// A run that takes so long that not even its timeout fires blocks its thread.
    blocked_after: Duration,
    record: Mutex<Record>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    failures: u32,
    /// The start of the current run.
    running_since: Option<Instant>,
    /// The end of the last run, and how long it took.
    last: Option<(Instant, Duration)>,
}

/// The state of a named check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The name of the check.
    pub name: String,
    /// What its failure means for `/readyz`.
    pub importance: Importance,
    /// Whether it passes: not if it failed three times in a row.
    pub passes: bool,
    /// The time since the end of its last run.
    pub age: Option<Duration>,
    /// How long its last run took.
    pub took: Option<Duration>,
}

impl Check {
    pub(super) fn new(
        name: &str,
        importance: Importance,
        period: Duration,
        timeout: Duration,
    ) -> Self {
        Self {
            name: name.to_owned(),
            importance,
            timeout,
            blocked_after: (period + timeout) * FAILURES,
            record: Mutex::default(),
        }
    }

    /// Runs the check once. A probe that hangs or panics fails.
    pub(super) async fn run<E: Display>(&self, probe: impl Future<Output = Result<(), E>>) {
        let began = Instant::now();
        self.record().running_since = Some(began);
        let failure = match timeout(self.timeout, panics::caught(probe)).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(panic)) => Some(format!("panicked: {panic}")),
            Err(_) => {
                let limit = humantime::format_duration(self.timeout);
                Some(format!("no answer within {limit}"))
            }
        };
        let mut record = self.record();
        let failures = match failure {
            Some(_) => record.failures.saturating_add(1),
            None => 0,
        };
        let (did_pass, passes) = (record.failures < FAILURES, failures < FAILURES);
        *record = Record {
            failures,
            running_since: None,
            last: Some((Instant::now(), began.elapsed())),
        };
        drop(record);
        // Only the log has the reason. The probes have the name.
        let check = self.name.as_str();
        match failure {
            Some(error) if passes => tracing::warn!(check, error, "check failed once"),
            Some(error) if did_pass => tracing::error!(check, error, "check fails"),
            None if !did_pass => tracing::info!(check, "check recovered"),
            Some(_) | None => {}
        }
    }

    pub(super) fn state(&self) -> Checked {
        let record = *self.record();
        let is_blocked = record
            .running_since
            .is_some_and(|since| since.elapsed() >= self.blocked_after);
        Checked {
            name: self.name.clone(),
            importance: self.importance,
            passes: record.failures < FAILURES && !is_blocked,
            age: record.last.map(|(end, _)| end.elapsed()),
            took: record.last.map(|(_, took)| took),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
