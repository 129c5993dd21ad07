//! A named check: a dependency that is asked in the background, and what is believed of it.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::importance::Importance;
use crate::panics;

/// Failures in a row before a check is believed to fail; one success is enough to recover.
const FAILURES: u32 = 3;

#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) importance: Importance,
    /// When an answer is so long in coming that not even its timeout was noticed: it blocks its
    /// thread.
    blocked: Duration,
    record: Mutex<Record>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Record {
    failures: u32,
    /// Since when an answer is waited for.
    asked: Option<Instant>,
    /// When it was last answered, or given up, and how long that took.
    last: Option<(Instant, Duration)>,
}

/// What is believed of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Belief {
    pub(super) healthy: bool,
    /// How old the last answer is, and how long it took.
    pub(super) last: Option<(Duration, Duration)>,
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
            blocked: (period + timeout) * FAILURES,
            record: Mutex::default(),
        }
    }

    /// Asks once. What hangs or panics has failed.
    pub(super) async fn ask<E: Display>(
        &self,
        within: Duration,
        probe: impl Future<Output = Result<(), E>>,
    ) {
        let began = Instant::now();
        self.record().asked = Some(began);
        let failure = match timeout(within, panics::caught(probe)).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(panic)) => Some(format!("panicked: {panic}")),
            Err(_) => Some(format!(
                "no answer within {}",
                humantime::format_duration(within)
            )),
        };
        let before = self.record().is_healthy();
        let after = {
            let mut record = self.record();
            record.failures = match failure {
                Some(_) => record.failures.saturating_add(1),
                None => 0,
            };
            record.asked = None;
            record.last = Some((Instant::now(), began.elapsed()));
            record.is_healthy()
        };
        // The reason is for the log; the probes give names only.
        let check = self.name.as_str();
        match failure {
            Some(failure) if before && !after => {
                tracing::error!(check, error = failure, "check fails");
            }
            Some(failure) if after => tracing::warn!(check, error = failure, "check failed once"),
            None if !before => tracing::info!(check, "check recovered"),
            Some(_) | None => {}
        }
    }

    pub(super) fn belief(&self) -> Belief {
        let record = *self.record();
        let is_blocked = record
            .asked
            .is_some_and(|asked| asked.elapsed() >= self.blocked);
        Belief {
            healthy: record.is_healthy() && !is_blocked,
            last: record.last.map(|(at, took)| (at.elapsed(), took)),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn is_healthy(self) -> bool {
        self.failures < FAILURES
    }
}
