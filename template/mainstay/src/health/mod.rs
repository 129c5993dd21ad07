//! The probes `/livez`, `/readyz` and `/startupz`, and the checks of dependencies.
//!
//! - `/livez`: the runtime makes progress. It stays 200 during the stop, and looks at nothing outside of
//!   the process.
//! - `/readyz`: the service answers requests, and every critical task runs.
//! - `/startupz`: the start is complete.
//!
//! A dependency has a named check, which the supervisor runs once per `health.period` as the task `health.NAME`,
//! however many probes arrive. It fails after three failures in a row, and recovers with one success. A failing check that is
//! [`Degraded`](Importance::Degraded) leaves the service ready, since all replicas lose the same dependency at once.
//!
//! The body of a probe has names only. Reasons are in the log, and in the status of the task.

mod probes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use garde::Validate;
use serde::Deserialize;
use tokio::time::Instant;

pub(crate) use probes::ask;

use crate::Importance;
use crate::lifecycle::Lifecycle;
use crate::panics::lock;
use crate::settings::at_least;
use crate::supervisor::{Outcome, SpawnError, Supervisor};
use crate::watchdog::Pulse;

/// `[health]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Settings {
    #[garde(custom(at_least("1ms")))]
    pub period: Duration,
    #[garde(custom(at_least("1ms")))]
    pub timeout: Duration,
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
    pub(crate) pulse: Pulse,
    /// What each check means, and when it was registered, by its name.
    checks: Arc<Mutex<BTreeMap<String, (Importance, Instant)>>>,
}

/// The state of a named check.
#[derive(Debug, Clone)]
pub struct Check {
    /// The name of the check.
    pub name: String,
    pub(crate) importance: Importance,
    /// Whether it passes: it has a recent result, and did not fail three times in a row.
    pub passes: bool,
    pub(crate) took: Option<Duration>,
    /// The time since its last run, or since its registration.
    pub(crate) age: Duration,
}

/// A check fails after so many failures in a row.
const FAILURES: u32 = 3;

/// The name of the task of a check begins with it.
const TASK: &str = "health.";

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

    /// Runs `probe` once per `health.period` from now on, as the check with this name. A probe that hangs or
    /// panics fails.
    pub fn register_check<P, F>(
        &self,
        name: &str,
        importance: Importance,
        probe: P,
    ) -> Result<(), SpawnError>
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output: Outcome> + Send + 'static,
    {
        let task = format!("{TASK}{name}");
        let task = self.supervisor.every(&task, self.settings.period);
        let task = task.at_start().timeout(self.settings.timeout);
        task.run(move |_| probe())?;
        let check = (importance, Instant::now());
        lock(&self.checks).insert(name.to_owned(), check);
        Ok(())
    }

    /// The state of each check, in the order of their registration.
    #[must_use]
    pub fn checked(&self) -> Vec<Check> {
        // A check that blocks its thread has no timeout, and so no result.
        let outdated_after = (self.settings.period + self.settings.timeout) * FAILURES;
        let (tasks, checks) = (self.supervisor.statuses(), lock(&self.checks));
        let checked = tasks.iter().filter_map(|task| {
            let name = task.name.strip_prefix(TASK)?;
            let (importance, registered) = *checks.get(name)?;
            let (ended, took) = task.last_run.unzip();
            let age = ended.unwrap_or(registered).elapsed();
            Some(Check {
                name: name.to_owned(),
                importance,
                passes: task.failures < FAILURES && age < outdated_after,
                took,
                age,
            })
        });
        checked.collect()
    }
}

#[cfg(test)]
mod tests;
