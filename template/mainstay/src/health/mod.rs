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

/// The state of a named check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The name of the check.
    pub name: String,
    /// Whether it passes: not if it failed three times in a row.
    pub passes: bool,
    /// How long its last run took.
    pub took: Option<Duration>,
}

/// The current state of one thing that a probe looks at.
struct Finding {
    name: String,
    state: Verdict,
    words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Bad, and no reason to fail.
    Tolerated,
    Bad,
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
        let probe = Arc::new(probe);
        let asked = Arc::clone(&check);
        self.0
            .supervisor
            .every(&format!("health.{name}"), period)
            .at_start()
            .run(move |_| {
                let (check, probe) = (Arc::clone(&asked), Arc::clone(&probe));
                async move {
                    // Also what panics before there is a future to wait for has failed.
                    check.ask(timeout, async { probe().await }).await;
                }
            })?;
        self.checks().push(check);
        Ok(())
    }

    /// The state of each check.
    #[must_use]
    pub fn checked(&self) -> Vec<Checked> {
        let checks = self.checks();
        let checked = checks.iter().map(|check| {
            let belief = check.belief();
            Checked {
                name: check.name.clone(),
                passes: belief.healthy,
                took: belief.last.map(|(_, took)| took),
            }
        });
        checked.collect()
    }

    /// `/livez`
    fn alive(&self) -> Vec<Finding> {
        let stalled = self.0.pulse.stalled_for();
        let dead = stalled.is_some_and(|time| time >= self.0.settings.stall);
        vec![Finding {
            name: "runtime".to_owned(),
            state: if dead { Verdict::Bad } else { Verdict::Good },
            words: stalled.map_or_else(
                || "answers".to_owned(),
                |time| format!("stalled for {}", seconds(time)),
            ),
        }]
    }

    /// `/readyz`
    fn ready(&self) -> Vec<Finding> {
        let state = self.0.lifecycle.state();
        let mut findings = vec![Finding {
            name: "lifecycle".to_owned(),
            state: verdict(state == State::Ready, Importance::Required),
            words: match state {
                State::Starting => "starting",
                State::Ready => "ready",
                State::Draining { .. } => "draining",
                State::Stopped => "stopped",
            }
            .to_owned(),
        }];
        findings.extend(self.0.supervisor.statuses().into_iter().filter_map(|task| {
            let runs = task.state == supervisor::State::Running;
            let gone = task.state == supervisor::State::GaveUp;
            let importance = if task.critical {
                Importance::Required
            } else {
                Importance::Degraded
            };
            (task.critical || gone).then(|| Finding {
                name: format!("task.{}", task.name),
                state: verdict(runs, importance),
                words: task.state.to_string(),
            })
        }));
        findings.extend(self.checks().iter().map(|check| {
            let belief = check.belief();
            let healthy = if belief.healthy { "passes" } else { "fails" };
            let last = belief.last.map_or_else(
                || "not asked yet".to_owned(),
                |(age, took)| format!("asked {} ago, took {} ms", seconds(age), took.as_millis()),
            );
            Finding {
                name: check.name.clone(),
                state: verdict(belief.healthy, check.importance),
                words: format!("{healthy}, {last}"),
            }
        }));
        findings
    }

    /// `/startupz`
    fn started(&self) -> Vec<Finding> {
        let started = self.0.lifecycle.state() != State::Starting;
        vec![Finding {
            name: "start".to_owned(),
            state: verdict(started, Importance::Required),
            words: if started {
                "complete".to_owned()
            } else {
                format!("waiting for {}", self.0.lifecycle.step())
            },
        }]
    }

    fn checks(&self) -> MutexGuard<'_, Vec<Arc<Check>>> {
        self.0.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verdict(good: bool, importance: Importance) -> Verdict {
    match (good, importance) {
        (true, _) => Verdict::Good,
        (false, Importance::Degraded) => Verdict::Tolerated,
        (false, Importance::Required) => Verdict::Bad,
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
