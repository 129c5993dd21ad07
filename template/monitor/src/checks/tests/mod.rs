//! The parts together, on a database.

mod claims;
mod exports;
mod health;
mod pages;
mod patience;
mod retention;
mod schedules;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::response::Parts;
use futures_util::FutureExt;
use mainstay::supervisor::Supervisor;
use tokio::sync::mpsc;
use tokio::task::unconstrained;
use tower::ServiceExt;

use super::peer::{Event, Peer, Reply, answer};
use super::queue::{Queue, Waiting, queue};
use super::*;
use crate::watched::Watched;

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

const LEASE: Duration = Duration::from_mins(2);

/// The lease of a target, with its timeout of ten seconds.
const HELD: Duration = LEASE.saturating_add(Duration::from_secs(10));

/// A database with targets and their results.
struct Fixture {
    watched: Watched,
    history: History,
}

/// One of the processes that make checks.
struct Replica {
    schedule: Schedule,
    queue: Queue,
    waiting: Waiting,
}

impl Fixture {
    async fn new() -> Self {
        let watched = Watched::new().await;
        Self {
            history: History::new(watched.database.clone()),
            watched,
        }
    }

    fn replica(&self, room: usize) -> Replica {
        let (queue, waiting) = queue(room);
        let schedule = Schedule::new(self.watched.database.clone(), queue.clone(), LEASE);
        Replica {
            schedule,
            queue,
            waiting,
        }
    }

    /// The response for this path.
    async fn get(&self, path: &str) -> (Parts, Bytes) {
        let checked = routes::RouteState {
            history: self.history.clone(),
            schedule: self.replica(1).schedule,
            allowance: Allowance::new(allowance::Settings {
                asked_per_minute: None,
                asked_at_once: 1,
            }),
        };
        let routes = OpenApiRouter::new().nest("/v1", routes::routes(checked));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = Router::from(routes).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 10_000_000).await.unwrap();
        (head, body)
    }

    async fn write(&self, report: Report) {
        self.history.clone().write([report].into()).await.unwrap();
    }

    /// The results of a target, the newest first.
    async fn results(&self, target: i64) -> Vec<history::Kept> {
        let ever = Timestamp(i64::MIN)..Timestamp(i64::MAX);
        self.history.due_within(target, ever, 1000).await.unwrap()
    }
}

impl Replica {
    /// Runs the scheduler at this time.
    async fn run_once(&self, now: Timestamp) {
        let turned = self.schedule.run_once(|| now, &Work::default()).await;
        turned.unwrap();
    }

    /// The checks that it claims at this time.
    async fn takes(&mut self, now: Timestamp) -> Vec<Due> {
        self.run_once(now).await;
        // There may be more than tokio lets a task receive at a time.
        let next = || unconstrained(self.waiting.next()).now_or_never();
        std::iter::from_fn(next).map(due).collect()
    }
}

fn due(job: Job) -> Due {
    match job {
        Job::Due(due) => due,
        Job::Asked(asked) => panic!("{asked:?}"),
    }
}

fn up(due: &Due) -> Report {
    let verdict = Verdict::Up {
        status: StatusCode::OK,
        latency: Duration::from_millis(12),
    };
    Report {
        due: due.clone(),
        end: End::Checked {
            at: due.at,
            verdict,
        },
    }
}

/// The parts of a check, and the receiver of its reports.
pub(super) fn checks(
    hosts: &hosts::Settings,
) -> (Checks, mpsc::UnboundedReceiver<Report>, Supervisor) {
    let supervisor = Supervisor::new();
    let settings = recorder::Settings {
        batch: 1,
        batch_delay: Duration::ZERO,
    };
    let (tell, told) = mpsc::unbounded_channel();
    let write = move |batch: std::sync::Arc<[Report]>| {
        for report in &*batch {
            tell.send(report.clone()).unwrap();
        }
        async { Ok::<_, &str>(()) }
    };
    let outgoing = outgoing::Settings {
        allow_private: true,
        ..outgoing::tests::settings()
    };
    let probe = probe::Settings {
        retries: 0,
        ..probe::tests::settings()
    };
    let checks = Checks {
        hosts: Hosts::new(hosts),
        probe: Probe::new(Outgoing::new(&outgoing), &probe),
        reports: recorder::start(&supervisor, settings, write).unwrap(),
        work: Work::default(),
    };
    (checks, told, supervisor)
}

fn due_at(peer: &Peer) -> Due {
    Due {
        url: peer.url("/"),
        ..due::tests::due(1)
    }
}

/// Makes a check without cancelling it.
async fn made(checks: &Checks, due: Due) {
    let never = CancellationToken::new();
    checks.clone().make_due(due, never).await;
}

#[tokio::test]
async fn cancelled_check_is_postponed() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    let cancel = CancellationToken::new();
    let made = checks.make_due(due_at(&peer), cancel.clone());
    let stop = async {
        peer.asked().await;
        cancel.cancel();
    };

    tokio::join!(made, stop);

    let report = told.recv().await.unwrap();
    assert!(matches!(report.end, End::Postponed), "{report:?}");
}

#[tokio::test]
async fn check_of_a_busy_host_is_postponed() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, mut told, _supervisor) = checks(&hosts::Settings {
        per_host: 1,
        ..hosts::tests::settings()
    });
    let mut first = tokio::task::JoinSet::new();
    first.spawn(
        checks
            .clone()
            .make_due(due_at(&peer), CancellationToken::new()),
    );
    peer.asked().await;

    made(&checks, due_at(&peer)).await;

    let report = told.recv().await.unwrap();
    assert!(matches!(report.end, End::Postponed), "{report:?}");
    assert_eq!(peer.seen().await, [], "one is enough");
}

#[tokio::test]
async fn open_breaker_sends_no_request() {
    let peer = Peer::always(Reply::Last(String::new())).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    let mut reasons = Vec::new();
    for _ in 0..5 {
        made(&checks, due_at(&peer)).await;
        match told.recv().await.unwrap().end {
            End::Checked {
                verdict: Verdict::Down { reason, .. },
                ..
            } => reasons.push(reason.kind()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        reasons,
        ["broken", "broken", "broken", "host_down", "host_down"]
    );
    let seen = peer.seen().await;
    let asked = seen.iter().filter(|event| matches!(event, Event::Asked(_)));
    assert_eq!(asked.count(), 3);
}

#[tokio::test]
async fn error_status_does_not_open_the_breaker() {
    let peer = Peer::always(answer("500 Internal Server Error", "", "")).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    for _ in 0..10 {
        made(&checks, due_at(&peer)).await;
        told.recv().await.unwrap();
        peer.asked().await;
    }
}

#[tokio::test]
async fn late_check_is_not_made() {
    let peer = Peer::always(answer("200 OK", "", "")).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    let late = Due {
        deadline: Instant::now(),
        ..due_at(&peer)
    };
    made(&checks, late).await;
    made(&checks, due_at(&peer)).await;
    let report = told.recv().await.unwrap();
    assert!(matches!(report.end, End::Checked { .. }), "{report:?}");
    assert!(told.try_recv().is_err());
    let asked = peer.seen().await;
    assert_eq!(asked.len(), 2, "connected and asked once: {asked:?}");
}
