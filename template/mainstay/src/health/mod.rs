//! The probes `/livez`, `/readyz` and `/startupz`, and the checks of dependencies.
//!
//! - `/livez`: the runtime makes progress. It stays 200 during the stop, and depends on nothing outside of the
//!   process.
//! - `/readyz`: the start is complete, no stop has begun, and every critical task and every required check is healthy.
//! - `/startupz`: the start is complete.
//!
//! A dependency has a named check. The supervisor runs it once per `health.period`, as the task `health.NAME`, however
//! many probes arrive. The check fails after three failures in a row, and recovers with one success. A failing check
//! that is [`Degraded`](Importance::Degraded) leaves the service ready: all replicas lose a dependency at once.
//!
//! A response contains only names. The reasons are in the log, and in the status of the task.

mod probes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use garde::Validate;
use serde::Deserialize;
use tokio::time::Instant;

pub(crate) use probes::query_probe;

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
    // The watchdog does not detect a shorter stall.
    #[garde(custom(at_least("1s")))]
    pub stall: Duration,
}

/// The probes of the process and its checks. Clones share their state.
#[derive(Debug, Clone)]
pub struct Health {
    settings: Settings,
    lifecycle: Lifecycle,
    supervisor: Supervisor,
    pub(crate) pulse: Pulse,
    /// For each name of a check, its importance, and when it was registered.
    checks: Arc<Mutex<BTreeMap<String, (Importance, Instant)>>>,
}

/// The state of a named check.
#[derive(Debug, Clone)]
pub struct Check {
    /// The name of the check.
    pub name: String,
    pub(crate) importance: Importance,
    /// Whether it passes: its result is recent, and its last three runs did not all fail.
    pub passes: bool,
    pub(crate) took: Option<Duration>,
    /// The time since its last run, or since its registration if it has not run.
    pub(crate) age: Duration,
}

/// The number of failures in a row after which a check fails.
const FAILURES: u32 = 3;

/// The prefix of the name of a check's task.
const TASK_PREFIX: &str = "health.";

impl Health {
    /// Creates the probes of a process with these tasks. A service has [`Process::health`](crate::Process::health).
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

    /// Starts a check with this name, which runs `probe` once per `health.period`. The run fails if `probe` hangs or
    /// panics.
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
        let task = format!("{TASK_PREFIX}{name}");
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
        // A check that blocks its thread cannot time out: it reports no further result.
        let outdated_after = (self.settings.period + self.settings.timeout) * FAILURES;
        let (tasks, checks) = (self.supervisor.statuses(), lock(&self.checks));
        let checked = tasks.iter().filter_map(|task| {
            let name = task.name.strip_prefix(TASK_PREFIX)?;
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
