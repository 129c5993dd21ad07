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

use std::collections::BTreeMap;
use std::fmt::Display;
use std::mem;
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
pub struct Health {
    settings: Settings,
    lifecycle: Lifecycle,
    supervisor: Supervisor,
    pulse: Pulse,
    checks: Arc<Mutex<BTreeMap<String, Check>>>,
}

/// The state of a named check.
#[derive(Debug, Clone)]
pub struct Check {
    /// The name of the check.
    pub name: String,
    /// What its failure means for `/readyz`.
    pub importance: Importance,
    /// Whether it passes: not if it failed three times in a row, or has no recent result.
    pub passes: bool,
    /// How long its last run took.
    pub took: Option<Duration>,
    /// The failures in a row.
    failures: u32,
    /// The end of the last run, or the registration of the check.
    ended: Instant,
}

/// A check fails after so many failures in a row, and recovers with one success.
const FAILURES: u32 = 3;

impl Health {
    /// The health of a process with these tasks. A service has [`Process::health`](crate::Process::health).
    #[must_use]
    pub fn new(settings: &Settings, lifecycle: &Lifecycle, supervisor: &Supervisor) -> Self {
        Self {
            settings: settings.clone(),
            lifecycle: lifecycle.clone(),
            supervisor: supervisor.clone(),
            pulse: Pulse::default(),
            checks: Arc::default(),
        }
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
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
        let check = Check {
            name: name.to_owned(),
            importance,
            passes: true,
            took: None,
            failures: 0,
            ended: Instant::now(),
        };
        // The first run ends after the check is in the list.
        let mut checks = self.checks();
        let shared = Arc::new((name.to_owned(), self.clone(), probe));
        let task = format!("health.{name}");
        let task = self.supervisor.every(&task, self.settings.period);
        task.at_start().run(move |_| {
            let shared = Arc::clone(&shared);
            async move {
                let (name, health, probe) = &*shared;
                // The probe is called inside the future, so that a panic of the call counts as a failure.
                health.run(name, async { probe().await }).await;
            }
        })?;
        checks.insert(name.to_owned(), check);
        Ok(())
    }

    /// The state of each check, in the order of their names.
    #[must_use]
    pub fn checked(&self) -> Vec<Check> {
        // A check that blocks its thread has no timeout, and so no result.
        let outdated_after = (self.settings.period + self.settings.timeout) * FAILURES;
        let mut checks: Vec<_> = self.checks().values().cloned().collect();
        for check in &mut checks {
            check.passes &= check.ended.elapsed() < outdated_after;
        }
        checks
    }

    /// Runs a check once. A probe that hangs or panics fails.
    async fn run<E: Display>(&self, check: &str, probe: impl Future<Output = Result<(), E>>) {
        let began = Instant::now();
        let limit = self.settings.timeout;
        let failure = match timeout(limit, panics::caught(probe)).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(error.to_string()),
            Ok(Err(panic)) => Some(panic),
            Err(_) => {
                let limit = humantime::format_duration(limit);
                Some(format!("no answer within {limit}"))
            }
        };
        let (did_pass, passes) = {
            let mut checks = self.checks();
            let Some(record) = checks.get_mut(check) else {
                return;
            };
            record.failures = match failure {
                Some(_) => record.failures.saturating_add(1),
                None => 0,
            };
            record.ended = Instant::now();
            record.took = Some(record.ended - began);
            let passes = record.failures < FAILURES;
            (mem::replace(&mut record.passes, passes), passes)
        };
        // Only the log has the reason. The probes have the name.
        match failure {
            Some(error) if passes => tracing::warn!(check, error, "check failed once"),
            Some(error) if did_pass => tracing::error!(check, error, "check fails"),
            None if !did_pass => tracing::info!(check, "check recovered"),
            Some(_) | None => {}
        }
    }

    fn checks(&self) -> MutexGuard<'_, BTreeMap<String, Check>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
