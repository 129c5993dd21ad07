//! The checks of targets: each target is requested at its interval, and the result is stored.
//!
//! A check passes through these modules in order. Each module documents what it guarantees:
//!
//! | module | part |
//! |---|---|
//! | [`schedule`] | which checks are due, and which process has claimed them |
//! | [`allowance`] | the rate limit of each client |
//! | [`batch`] | many URLs that a client wants checked now |
//! | [`queue`] | the bounded queue of checks |
//! | [`checkers`] | runs a limited number of checks at once |
//! | [`hosts`] | a limit and a circuit breaker for each host |
//! | [`probe`] | one check: attempts, pauses and their budget |
//! | [`outgoing`] | one HTTP request, to public addresses only |
//! | [`recorder`] | writes results in batches |
//! | [`history`] | the stored results, and their retention |
//! | [`routes`] | the HTTP endpoints |
//! | [`export`] | all results of a target in one response |
//! | [`work`] | the health check of this pipeline |
//!
//! Backpressure goes from the end to the start: while results cannot be written, no more checks are made. At
//! the stop, the parts end in the order of this table, so that each can finish what the one before has handed
//! over.

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

use crate::settings::Database;
use crate::timestamp::Timestamp;
use allowance::Allowance;
use batch::{Asked, Batches, Checked};
use due::{Due, End, Report};
use history::History;
use hosts::{Hosts, Permit};
use outgoing::{Failure, Outgoing};
use probe::{Probe, Question, Reason, Verdict};
use queue::Job;
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

    /// How long results and announced changes are stored.
    pub(super) fn retention(&self) -> Duration {
        self.retention
    }
}

/// Checks at the start that the tables can be read.
pub(super) async fn ensure_readable(database: &Database) -> Result<(), sqlx::Error> {
    let due = Schedule::backlog(database, Timestamp::now()).await?;
    tracing::info!(due, "checks");
    Ok(())
}

/// Starts the tasks, and returns the routes. At the stop, checks have half of the time for tasks to finish.
pub(super) fn start(
    settings: &Settings,
    stop: Duration,
    supervisor: &Supervisor,
    health: &Health,
    database: &Database,
) -> Result<OpenApiRouter, SpawnError> {
    numbers::describe();
    let history = History::new(database.clone());
    history.spawn_retention(supervisor, settings.retention)?;

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
    checkers::start(supervisor, waiting, limits, move |job, cancel| {
        checks.clone().make(job, cancel)
    })?;

    let allowance = Allowance::new(settings.allowance);
    let batches = Batches::new(hosts, queue.clone(), &settings.batch);
    let schedule = Schedule::new(database.clone(), queue, settings.lease);
    if settings.scheduled {
        schedule.spawn(supervisor, &work)?;
    }
    let routes = routes::routes(routes::RouteState {
        history,
        schedule,
        allowance: allowance.clone(),
    });
    Ok(routes.merge(batch::routes::routes(batches, allowance)))
}

/// Registers the health check `monitor`. It degrades the service only: a replica may do better, and this
/// process can still serve what is stored.
fn watch(work: &Work, health: &Health) -> Result<(), SpawnError> {
    let work = work.clone();
    health.register_check("monitor", Importance::Degraded, move || {
        let check_progress = work.check_progress();
        async { check_progress }
    })
}

/// Writes results, and reports to `work` that they are written.
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

/// The parts that make a check.
#[derive(Debug, Clone)]
struct Checks {
    hosts: Hosts,
    probe: Probe,
    reports: Reports,
    work: Work,
}

impl Checks {
    async fn make(self, job: Job, cancel: CancellationToken) {
        match job {
            Job::Due(due) => self.make_due(due, cancel).await,
            Job::Asked(asked) => {
                cancel.run_until_cancelled(self.make_asked(asked)).await;
            }
        }
    }

    /// Makes a check, unless it is too late or cancelled, and reports its end.
    async fn make_due(self, due: Due, cancel: CancellationToken) {
        let left = due.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            numbers::check("late");
            return;
        }
        // After a long wait in the queue, the deadline would cut a slow response.
        let end = if left < due.timeout {
            End::Postponed
        } else {
            self.end_of(&due, cancel).await
        };
        let taken = || self.work.reported();
        self.reports.hand_over(Report { due, end }, taken).await;
    }

    async fn end_of(&self, due: &Due, cancel: CancellationToken) -> End {
        let at = Timestamp::now();
        match self.hosts.try_acquire(&due.url) {
            Ok(permit) => {
                let question = Question {
                    url: due.url.clone(),
                    timeout: due.timeout,
                    deadline: due.deadline,
                };
                let asked = self.ask(&question, permit);
                match cancel.run_until_cancelled(asked).await.flatten() {
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

    /// Makes a check for a waiting client, and stops when the client leaves.
    async fn make_asked(self, asked: Asked) {
        let mut answer = asked.answer;
        if answer.is_closed() {
            return;
        }
        let (at, began) = (Timestamp::now(), Instant::now());
        let question = Question {
            url: asked.url,
            timeout: asked.timeout,
            deadline: began + asked.timeout,
        };
        let made = self.ask(&question, asked.permit);
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

    /// Returns `None` if there was no time for a response. A client with a short timeout must not open the
    /// breaker of a host.
    async fn ask(&self, question: &Question, permit: Permit) -> Option<Verdict> {
        let began = Instant::now();
        let verdict = self.probe.check(question).await;
        numbers::took(began.elapsed());
        if let Some(verdict) = &verdict {
            permit.end(verdict.speaks_for_host());
        }
        verdict
    }
}

#[cfg(test)]
mod tests;
