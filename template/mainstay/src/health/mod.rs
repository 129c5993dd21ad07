//! The three probes, for whoever decides about the life of this process.
//!
//! - `/livez`: the process makes progress. It stays 200 while draining, and never asks anything
//!   outside of the process.
//! - `/readyz`: requests are welcome, and every critical task runs.
//! - `/startupz`: the start is complete; from then on, always.
//!
//! What the process depends on is a *named check*. It is asked in the background, never by a probe:
//! however many probes come, it is asked once a period. It fails after three failures in a row, and
//! recovers with one success. By default a check that fails does not make the service unready,
//! since taking every replica out at once helps nobody; `?verbose` and the log tell of it.
//!
//! A probe gives names, never reasons: those are in the log.

mod ask;
mod check;
mod probes;

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use ask::{Probe, ask};

use crate::importance::Importance;
use crate::lifecycle::{Lifecycle, State};
use crate::settings::{self, Reader, Section};
use crate::supervisor::{self, SpawnError, Supervisor};
use crate::watchdog::Pulse;
use check::Check;

/// `[health]`
#[derive(Debug, Clone)]
pub struct Settings {
    pub period: Duration,
    pub timeout: Duration,
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

/// What is known about this process. All clones are the same.
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

/// What is believed of a named check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub name: String,
    pub passes: bool,
    /// How long the last answer took.
    pub took: Option<Duration>,
}

/// One thing that a probe looks at, as it is just now.
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
    #[must_use]
    pub fn new(
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

    /// Asks `probe` once a period from now on, under this name.
    ///
    /// # Errors
    ///
    /// When there is such a check already, or the stop has begun.
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

    /// What is believed of each check.
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

    /// Whether this process makes progress.
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

    /// Whether requests are welcome.
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

    /// Whether the start is complete.
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
