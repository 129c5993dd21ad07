//! The probes `/livez`, `/readyz` and `/startupz`, and the checks of dependencies.
//!
//! - `/livez`: the runtime makes progress. It stays 200 during the stop, and looks at nothing outside of
//!   the process.
//! - `/readyz`: the service answers requests, and every critical task runs.
//! - `/startupz`: the start is complete.
//!
//! A dependency has a named check, which runs once per `health.period` in the background, however many
//! probes arrive. It fails after three failures in a row, and recovers with one success. A failing check that is
//! [`Degraded`](Importance::Degraded) leaves the service ready, since all replicas lose the same dependency at once.
//!
//! The body of a probe has names only. Reasons are in the log.

mod probes;

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garde::Validate;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

pub(crate) use probes::ask;

use crate::importance::Importance;
use crate::lifecycle::Lifecycle;
use crate::panics;
use crate::settings::at_least;
use crate::supervisor::{SpawnError, Supervisor};
use crate::watchdog::Pulse;

/// `[health]`
#[derive(Debug, Clone, Deserialize, Validate)]
pub struct Settings {
    /// The interval of the checks.
    #[garde(custom(at_least("1ms")))]
    pub period: Duration,
    /// How long a check may take.
    #[garde(custom(at_least("1ms")))]
    pub timeout: Duration,
    /// How long the runtime may stall until `/livez` fails.
    // A shorter stall is not noticed.
    #[garde(custom(at_least("1s")))]
    pub stall: Duration,
}

/// The probes of the process and its checks. All clones are the same.
#[derive(Debug, Clone)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    lifecycle: Lifecycle,
    supervisor: Supervisor,
    pulse: Pulse,
    checks: Mutex<Vec<Arc<Check>>>,
}

#[derive(Debug)]
struct Check {
    name: String,
    importance: Importance,
    timeout: Duration,
    /// A result as old as this is a failure: the check blocks its thread, so that its timeout does not fire.
    outdated_after: Duration,
    record: Mutex<Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    /// The failures in a row.
    failures: u32,
    /// The end of the last run, or the registration of the check.
    ended: Instant,
    /// How long the last run took.
    took: Option<Duration>,
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

/// A check fails after so many failures in a row, and recovers with one success.
const FAILURES: u32 = 3;

impl Health {
    /// The health of a process with these tasks. A service has [`Process::health`](crate::Process::health).
    #[must_use]
    pub fn new(settings: &Settings, lifecycle: &Lifecycle, supervisor: &Supervisor) -> Self {
        Self(Arc::new(Inner {
            settings: settings.clone(),
            lifecycle: lifecycle.clone(),
            supervisor: supervisor.clone(),
            pulse: Pulse::default(),
            checks: Mutex::default(),
        }))
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0.pulse
    }

    /// Runs `probe` once per `health.period` from now on, as the check with this name.
    ///
    /// # Errors
    ///
    /// If there is a check of this name, or the stop has begun.
    pub fn register_check<P, F, E>(
        &self,
        name: &str,
        importance: Importance,
        probe: P,
    ) -> Result<(), SpawnError>
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + 'static,
    {
        let settings = &self.0.settings;
        let check = Arc::new(Check {
            name: name.to_owned(),
            importance,
            timeout: settings.timeout,
            outdated_after: (settings.period + settings.timeout) * FAILURES,
            record: Mutex::new(Record {
                failures: 0,
                ended: Instant::now(),
                took: None,
            }),
        });
        let (running, probe) = (Arc::clone(&check), Arc::new(probe));
        let task = format!("health.{name}");
        let task = self.0.supervisor.every(&task, settings.period).at_start();
        task.run(move |_| {
            let (check, probe) = (Arc::clone(&running), Arc::clone(&probe));
            // The probe is called inside the future, so that a panic of the call counts as a failure.
            async move { check.run(async { probe().await }).await }
        })?;
        self.checks().push(check);
        Ok(())
    }

    /// The state of each check.
    #[must_use]
    pub fn checked(&self) -> Vec<Checked> {
        self.checks().iter().map(|check| check.state()).collect()
    }

    fn checks(&self) -> MutexGuard<'_, Vec<Arc<Check>>> {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    /// Runs the check once. A probe that hangs or panics fails.
    async fn run<E: Display>(&self, probe: impl Future<Output = Result<(), E>>) {
        let began = Instant::now();
        let failure = match timeout(self.timeout, panics::caught(probe)).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(panic)) => Some(panic),
            Err(_) => {
                let limit = humantime::format_duration(self.timeout);
                Some(format!("no answer within {limit}"))
            }
        };
        let mut record = self.record();
        let before = record.failures;
        record.failures = failure.as_ref().map_or(0, |_| before.saturating_add(1));
        record.took = Some(began.elapsed());
        record.ended = Instant::now();
        let (did_pass, passes) = (before < FAILURES, record.failures < FAILURES);
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

    fn state(&self) -> Checked {
        let Record {
            failures,
            ended,
            took,
        } = *self.record();
        let age = ended.elapsed();
        Checked {
            name: self.name.clone(),
            importance: self.importance,
            passes: failures < FAILURES && age < self.outdated_after,
            age: took.map(|_| age),
            took,
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
