//! The probes `/livez`, `/readyz` and `/startupz`, and the checks of dependencies.
//!
//! - `/livez`: the runtime makes progress. It stays 200 during the stop, and looks at nothing outside of
//!   the process.
//! - `/readyz`: the service answers requests, and every critical task runs.
//! - `/startupz`: the start is complete.
//!
//! A dependency has a named check, which runs once per `health.period` in the background, however many
//! probes arrive. It fails after three failures in a row, and recovers with one success. By default, a
//! failing check is [`Degraded`](Importance::Degraded): the service stays ready, since all replicas lose the
//! same dependency at once. `?verbose`, the metrics and the log show the failure.
//!
//! The body of a probe has names only. Reasons are in the log.

mod ask;
mod check;
mod probes;

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use ask::{Probe, ask};
pub use check::Checked;

use crate::importance::Importance;
use crate::lifecycle::{Lifecycle, State};
use crate::settings::{self, Reader, Section};
use crate::supervisor::{self, SpawnError, Supervisor};
use crate::watchdog::Pulse;
use check::Check;

/// `[health]`
#[derive(Debug, Clone)]
pub struct Settings {
    /// The interval of the checks.
    pub period: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How long the runtime may stall until `/livez` fails.
    pub stall: Duration,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            period: from.value("period"),
            timeout: from.value("timeout"),
            stall: from.value("stall"),
        }
    }

    fn check(&self, check: &mut settings::Check<'_>) {
        for (time, key) in [
            (self.period, "health.period"),
            (self.timeout, "health.timeout"),
        ] {
            check.that(!time.is_zero(), &[key], "must be longer than nothing");
        }
        check.that(
            self.stall >= Duration::from_secs(1),
            &["health.stall"],
            "must be a second at least: a shorter stall is not noticed",
        );
    }
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

/// One part of the result of a probe.
struct Finding {
    name: String,
    importance: Importance,
    is_healthy: bool,
    detail: String,
}

impl Finding {
    fn required(name: &str, is_healthy: bool, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            importance: Importance::Required,
            is_healthy,
            detail: detail.into(),
        }
    }

    /// Whether the probe fails because of it.
    fn fails(&self) -> bool {
        !self.is_healthy && self.importance == Importance::Required
    }
}

impl Health {
    /// The health of a process without a watchdog, for a test. A service has
    /// [`Process::health`](crate::Process::health).
    #[must_use]
    pub fn new(settings: &Settings, lifecycle: &Lifecycle, supervisor: &Supervisor) -> Self {
        Self::watched(settings, lifecycle, supervisor, &Pulse::default())
    }

    /// The health of a process whose runtime a watchdog observes.
    pub(crate) fn watched(
        settings: &Settings,
        lifecycle: &Lifecycle,
        supervisor: &Supervisor,
        pulse: &Pulse,
    ) -> Self {
        Self(Arc::new(Inner {
            settings: settings.clone(),
            lifecycle: lifecycle.clone(),
            supervisor: supervisor.clone(),
            pulse: pulse.clone(),
            checks: Mutex::default(),
        }))
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
        let Settings {
            period, timeout, ..
        } = self.0.settings;
        let check = Arc::new(Check::new(name, importance, period, timeout));
        let (running, probe) = (Arc::clone(&check), Arc::new(probe));
        self.0
            .supervisor
            .every(&format!("health.{name}"), period)
            .at_start()
            .run(move |_| {
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

    fn livez(&self) -> Vec<Finding> {
        let stalled = self.0.pulse.stalled_for();
        let is_alive = stalled.is_none_or(|time| time < self.0.settings.stall);
        let detail = stalled.map_or_else(
            || "answers".to_owned(),
            |time| format!("stalled for {}", seconds(time)),
        );
        vec![Finding::required("runtime", is_alive, detail)]
    }

    fn readyz(&self) -> Vec<Finding> {
        let state = self.0.lifecycle.state();
        let detail = match state {
            State::Starting => "starting",
            State::Ready => "ready",
            State::Draining { .. } => "draining",
            State::Stopped => "stopped",
        };
        let is_ready = state == State::Ready;
        let mut findings = vec![Finding::required("lifecycle", is_ready, detail)];
        for task in self.0.supervisor.statuses() {
            let importance = match (task.critical, task.state) {
                (true, _) => Importance::Required,
                (false, supervisor::State::GaveUp) => Importance::Degraded,
                (false, _) => continue,
            };
            findings.push(Finding {
                name: format!("task.{}", task.name),
                importance,
                is_healthy: task.state == supervisor::State::Running,
                detail: task.state.name().to_owned(),
            });
        }
        for check in self.checked() {
            let word = if check.passes { "passes" } else { "fails" };
            let detail = match (check.age, check.took) {
                (Some(age), Some(took)) => {
                    let (age, took) = (seconds(age), took.as_millis());
                    format!("{word}, checked {age} ago, took {took} ms")
                }
                _ => format!("{word}, not checked yet"),
            };
            findings.push(Finding {
                name: check.name,
                importance: check.importance,
                is_healthy: check.passes,
                detail,
            });
        }
        findings
    }

    fn startupz(&self) -> Vec<Finding> {
        let is_started = self.0.lifecycle.state() != State::Starting;
        let detail = if is_started {
            "complete".to_owned()
        } else {
            format!("waiting for {}", self.0.lifecycle.step())
        };
        vec![Finding::required("start", is_started, detail)]
    }

    fn checks(&self) -> MutexGuard<'_, Vec<Arc<Check>>> {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
