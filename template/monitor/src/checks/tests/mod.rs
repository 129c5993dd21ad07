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

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

const LEASE: Duration = Duration::from_mins(2);

/// For how long a target is leased: it has ten seconds for an answer.
const HELD: Duration = LEASE.saturating_add(Duration::from_secs(10));

/// A database with targets, and what is known of them.
struct Fixture {
    watched: Watched,
    history: History,
}

/// One of the processes that check them.
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

    /// What is answered for this path.
    async fn get(&self, path: &str) -> (Parts, Bytes) {
        let checked = routes::Checked {
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
        let ever = Moment(i64::MIN)..Moment(i64::MAX);
        self.history.due_within(target, ever, 1000).await.unwrap()
    }
}

impl Replica {
    /// Looks for what is due, as of then.
    async fn turn(&self, now: Moment) {
        let turned = self.schedule.turn(|| now, &Work::default()).await;
        turned.unwrap();
    }

    /// What it takes on, as of then.
    async fn takes(&mut self, now: Moment) -> Vec<Due> {
        self.turn(now).await;
        // There may be more than tokio lets a task take at a time.
        let next = || unconstrained(self.waiting.next()).now_or_never();
        std::iter::from_fn(next).map(due).collect()
    }
}

fn due(errand: Errand) -> Due {
    match errand {
        Errand::Due(due) => due,
        Errand::Asked(asked) => panic!("{asked:?}"),
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

/// Checks, and where their reports go.
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

/// Makes a check that nobody gives up.
async fn made(checks: &Checks, due: Due) {
    let nobody = CancellationToken::new();
    checks.clone().make_due(due, nobody).await;
}

#[tokio::test]
async fn a_check_that_is_given_up_is_put_off() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    let given_up = CancellationToken::new();
    let made = checks.make_due(due_at(&peer), given_up.clone());
    let stop = async {
        peer.asked().await;
        given_up.cancel();
    };

    tokio::join!(made, stop);

    let report = told.recv().await.unwrap();
    assert!(matches!(report.end, End::Postponed), "{report:?}");
}

#[tokio::test]
async fn a_check_for_which_its_host_has_no_room_is_put_off() {
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
async fn a_host_that_is_down_is_not_asked() {
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
async fn a_host_that_says_no_is_asked_again() {
    let peer = Peer::always(answer("500 Internal Server Error", "", "")).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    for _ in 0..10 {
        made(&checks, due_at(&peer)).await;
        told.recv().await.unwrap();
        peer.asked().await;
    }
}

#[tokio::test]
async fn a_check_that_comes_too_late_is_not_made() {
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
