//! The checks of targets: each is asked in its time whether it is up, and what it answers is kept.
//!
//! A check goes one way, from one part to the next. Each part has its promise in its own module:
//!
//! | module | part |
//! |---|---|
//! | [`schedule`] | what is due, and who has taken it on |
//! | [`allowance`] | how much each client may ask for |
//! | [`batch`] | what somebody asks for and waits for, many at once |
//! | [`queue`] | what waits for its turn, within limits |
//! | [`checkers`] | so many checks at once |
//! | [`hosts`] | so many of one host, and none of one that is down |
//! | [`probe`] | one check: attempts, pauses, a budget for them |
//! | [`outgoing`] | one request, to where it is allowed |
//! | [`recorder`] | results, several at once |
//! | [`history`] | what is kept of them, and for how long |
//! | [`routes`] | what can be seen of that |
//! | [`export`] | all results of a target, in one answer |
//! | [`work`] | whether all of this goes on: a check of the service's own health |
//!
//! Each gives way to those before it by being full: while results cannot be written, nothing more is checked.
//! At the stop they end in the order of this table, so that each has the time to see to what it was handed.

mod allowance;
mod batch;
mod budget;
mod checkers;
mod due;
mod export;
mod history;
mod hosts;
mod numbers;
mod outgoing;
#[cfg(test)]
mod peer;
mod probe;
mod queue;
mod recorder;
mod routes;
mod schedule;
mod work;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Either};
use garde::Validate;
use mainstay::Importance;
use mainstay::health::Health;
use mainstay::settings::{self, at_least};
use mainstay::supervisor::{SpawnError, Supervisor};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::moment::Moment;
use crate::settings::Database;
use allowance::Allowance;
use batch::{Asked, Batches, Checked};
use due::{Due, End, Report};
use history::History;
use hosts::{Hosts, Pass};
use outgoing::{Failure, Outgoing};
use probe::{Probe, Question, Reason, Verdict};
use queue::Errand;
use recorder::Reports;
use schedule::Schedule;
use work::Work;

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::serves_its_largest_batch))]
pub(crate) struct Settings {
    #[garde(dive)]
    outgoing: outgoing::Settings,
    #[garde(dive)]
    probe: probe::Settings,
    #[garde(dive)]
    hosts: hosts::Settings,
    #[garde(dive)]
    recorder: recorder::Settings,
    #[garde(dive)]
    batch: batch::Settings,
    #[garde(dive)]
    allowance: allowance::Settings,
    scheduled: bool,
    #[garde(range(min = 1, max = 100_000))]
    checks_at_once: usize,
    #[garde(range(min = 1, max = 100_000))]
    max_queued: usize,
    #[garde(custom(at_least("1s")))]
    lease: Duration,
    #[garde(custom(at_least("1m")))]
    retention: Duration,
}

impl Settings {
    fn serves_its_largest_batch(&self, &(): &()) -> garde::Result {
        let at_once = usize::try_from(self.allowance.asked_at_once).unwrap_or(usize::MAX);
        settings::rule(
            self.allowance.asked_per_minute.is_none() || self.batch.max_batch <= at_once,
            &["max_batch", "asked_at_once"],
            "no client could ask for a batch that large; make the second as large as the first",
        )
    }

    /// How long results are kept, and what was announced because of them.
    pub(super) fn retention(&self) -> Duration {
        self.retention
    }
}

/// Looks at what there is to do, before any of it is done.
pub(super) async fn look(database: &Database) -> Result<(), sqlx::Error> {
    let due = Schedule::backlog(database, Moment::now()).await?;
    tracing::info!(due, "checks");
    Ok(())
}

/// Starts all of it, and gives the routes. At the stop, checks have half of the time for tasks to finish.
pub(super) fn start(
    settings: &Settings,
    stop: Duration,
    supervisor: &Supervisor,
    health: &Health,
    database: &Database,
) -> Result<OpenApiRouter, SpawnError> {
    numbers::describe();
    let history = History::new(database.clone());
    history.forget_by(supervisor, settings.retention)?;

    let work = Work::default();
    watch(&work, health)?;

    let write = recorded(history.clone(), work.clone());
    let reports = recorder::start(supervisor, settings.recorder, write)?;

    let hosts = Hosts::new(&settings.hosts);
    let checks = Checks {
        hosts: hosts.clone(),
        probe: Probe::new(Outgoing::new(&settings.outgoing), &settings.probe),
        reports,
        work: work.clone(),
    };
    let (queue, waiting) = queue::queue(settings.max_queued);
    let limits = checkers::Limits {
        at_once: settings.checks_at_once,
        finish: stop / 2,
    };
    checkers::start(supervisor, waiting, limits, move |errand, given_up| {
        checks.clone().make(errand, given_up)
    })?;

    let allowance = Allowance::new(settings.allowance);
    let batches = Batches::new(hosts, queue.clone(), &settings.batch);
    let schedule = Schedule::new(database.clone(), queue, settings.lease);
    if settings.scheduled {
        schedule.run_by(supervisor, &work)?;
    }
    let routes = routes::routes(routes::Checked {
        history,
        schedule,
        allowance: allowance.clone(),
    });
    Ok(routes.merge(batch::routes::routes(batches, allowance)))
}

/// Has the health check `monitor` look at that. Others may do better; a process that does its work badly still
/// shows what there is.
fn watch(work: &Work, health: &Health) -> Result<(), SpawnError> {
    let work = work.clone();
    health.register_check("monitor", Importance::Degraded, move || {
        let goes_on = work.goes_on();
        async { goes_on }
    })
}

/// Writes results down, and notes that it has.
fn recorded(
    history: History,
    work: Work,
) -> impl Fn(Arc<[Report]>) -> BoxFuture<'static, Result<(), sqlx::Error>> + Clone {
    move |batch| {
        let (history, work) = (history.clone(), work.clone());
        Box::pin(async move {
            let count = batch.len();
            history.write(batch).await?;
            work.written(count);
            Ok(())
        })
    }
}

/// What it takes to make one.
#[derive(Debug, Clone)]
struct Checks {
    hosts: Hosts,
    probe: Probe,
    reports: Reports,
    work: Work,
}

impl Checks {
    async fn make(self, errand: Errand, given_up: CancellationToken) {
        match errand {
            Errand::Due(due) => self.make_due(due, given_up).await,
            Errand::Asked(asked) => {
                given_up.run_until_cancelled(self.make_asked(asked)).await;
            }
        }
    }

    /// Makes a check, unless it comes too late or is given up, and hands over what has become of it.
    async fn make_due(self, due: Due, given_up: CancellationToken) {
        let left = due.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            numbers::check("late");
            return;
        }
        // One that has waited so long would be cut before a slow answer may come.
        let end = if left < due.timeout {
            End::Postponed
        } else {
            self.end_of(&due, given_up).await
        };
        let taken = || self.work.reported();
        self.reports.hand_over(Report { due, end }, taken).await;
    }

    async fn end_of(&self, due: &Due, given_up: CancellationToken) -> End {
        let at = Moment::now();
        match self.hosts.pass(&due.url) {
            Ok(pass) => {
                let question = Question {
                    url: due.url.clone(),
                    timeout: due.timeout,
                    deadline: due.deadline,
                };
                let asked = self.ask(&question, pass);
                match given_up.run_until_cancelled(asked).await.flatten() {
                    Some(verdict) => End::Checked { at, verdict },
                    None => End::Postponed,
                }
            }
            Err(hosts::Refused::Down) => End::Checked {
                at,
                verdict: Verdict::Down {
                    reason: Reason::Host,
                    latency: Duration::ZERO,
                },
            },
            Err(hosts::Refused::Busy) => End::Postponed,
        }
    }

    /// Makes a check for as long as somebody waits for it, and tells them.
    async fn make_asked(self, asked: Asked) {
        let mut answer = asked.answer;
        if answer.is_closed() {
            return;
        }
        let (at, began) = (Moment::now(), Instant::now());
        let question = Question {
            url: asked.url,
            timeout: asked.timeout,
            deadline: began + asked.timeout,
        };
        let made = self.ask(&question, asked.pass);
        let made = match asked.context {
            Some(context) => Either::Left(context.scope(made)),
            None => Either::Right(made),
        };
        tokio::select! {
            verdict = made => {
                let verdict = verdict.unwrap_or_else(|| Verdict::Down {
                    reason: Reason::Failure(Failure::Timeout),
                    latency: began.elapsed(),
                });
                _ = answer.send(Checked { at, verdict });
            }
            () = answer.closed() => {}
        }
    }

    /// Nothing if there was no time for an answer: it is not for the host that whoever asks has little patience,
    /// and nobody can have one taken for down by that.
    async fn ask(&self, question: &Question, pass: Pass) -> Option<Verdict> {
        let began = Instant::now();
        let verdict = self.probe.check(question).await;
        numbers::took(began.elapsed());
        if let Some(verdict) = &verdict {
            pass.end(verdict.speaks_for_host());
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
