//! Summaries: the cache, with scripted computations; and their content, on a database.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures_util::future::{join, join_all};
use futures_util::{FutureExt, pin_mut};
use mainstay::context::RequestContext;
use mainstay::supervisor::Supervisor;
use serde_json::{Value, json};
use tokio::sync::{Notify, oneshot};
use tower::ServiceExt;

use super::*;
use crate::watched::Watched;

/// The outcomes of the next computations, in order: each ends when the test says so.
#[derive(Clone, Default)]
struct Maker {
    orders: Arc<Mutex<VecDeque<oneshot::Receiver<bool>>>>,
    made: Arc<AtomicUsize>,
    began: Arc<Notify>,
}

impl Maker {
    /// The next computation ends at once.
    fn next(&self, works: bool) {
        self.held().send(works).unwrap();
    }

    /// The next computation ends when the returned sender says so.
    fn held(&self) -> oneshot::Sender<bool> {
        let (say, said) = oneshot::channel();
        self.orders.lock().unwrap().push_back(said);
        say
    }

    async fn make(self, window: Window) -> Option<Report> {
        let made = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        let said = self.orders.lock().unwrap().pop_front();
        self.began.notify_one();
        let works = said.expect("no unexpected computation").await;
        works.unwrap().then(|| report(window, made))
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }
}

/// A report with this time, to tell reports apart.
fn report(window: Window, time: usize) -> Report {
    let totals = Tally::default().totals();
    Report {
        window,
        as_of: Timestamp(time.try_into().unwrap()),
        stale: false,
        total: totals.all,
        targets: 0,
        worst: Vec::new(),
    }
}

const SETTINGS: Settings = Settings {
    summary_fresh: Duration::from_hours(1),
    summary_wait: Duration::from_secs(2),
};

fn flights(maker: &Maker, settings: Settings) -> (Flights, Supervisor) {
    let (supervisor, maker) = (Supervisor::new(), maker.clone());
    let flights = Flights::start(&supervisor, settings, move |window| {
        maker.clone().make(window)
    });
    (flights.unwrap(), supervisor)
}

/// The number of the report, and whether it is stale.
fn told(answer: Result<Arc<Report>, Unknown>) -> Option<(i64, bool)> {
    answer.ok().map(|report| (report.as_of.0, report.stale))
}

/// A client that leaves once the computation runs.
async fn begun_and_left(flights: &Flights, maker: &Maker) {
    let asking = flights.ask(DAY);
    pin_mut!(asking);
    assert!(asking.as_mut().now_or_never().is_none());
    maker.began.notified().await;
}

const DAY: Window = Window::Day;

#[tokio::test]
async fn concurrent_requests_share_one_computation() {
    let maker = Maker::default();
    let (flights, _supervisor) = flights(&maker, SETTINGS);
    let say = maker.held();
    let asking = join_all((0..100).map(|_| flights.ask(DAY)));
    let making = async {
        maker.began.notified().await;
        say.send(true).unwrap();
    };

    let (answers, ()) = join(asking, making).await;

    let answers: Vec<_> = answers.into_iter().map(told).collect();
    assert_eq!(answers, [Some((1, false)); 100]);
    assert_eq!(told(flights.ask(DAY).await), Some((1, false)), "and kept");
    assert_eq!(maker.made(), 1);
    // Each window has its own summary.
    maker.next(true);
    assert_eq!(told(flights.ask(Window::Hour).await), Some((2, false)));
}

#[tokio::test]
async fn expired_summary_is_computed_again() {
    let maker = Maker::default();
    let settings = Settings {
        summary_fresh: Duration::from_millis(1),
        ..SETTINGS
    };
    let (flights, _supervisor) = flights(&maker, settings);
    for _ in 0..2 {
        maker.next(true);
    }
    while told(flights.ask(DAY).await) != Some((2, false)) {}
}

#[tokio::test]
async fn failing_summary_serves_the_last_one_as_stale() {
    let maker = Maker::default();
    let (flights, _supervisor) = flights(&maker, SETTINGS);
    maker.next(false);
    assert_eq!(told(flights.ask(DAY).await), None, "none is known");
    maker.next(true);
    assert_eq!(told(flights.ask(DAY).await), Some((2, false)));
    flights.let_go_stale(DAY).await;
    for _ in 0..2 {
        maker.next(false);
        assert_eq!(told(flights.ask(DAY).await), Some((2, true)));
    }
    maker.next(true);
    assert_eq!(
        told(flights.ask(DAY).await),
        Some((5, false)),
        "fresh again"
    );
    assert_eq!(told(flights.ask(DAY).await), Some((5, false)));
}

#[tokio::test(start_paused = true)]
async fn slow_summary_serves_the_last_one_and_then_the_new_one() {
    let maker = Maker::default();
    let (flights, _supervisor) = flights(&maker, SETTINGS);
    maker.next(true);
    flights.ask(DAY).await.unwrap();
    flights.let_go_stale(DAY).await;
    let say = maker.held();
    let began = tokio::time::Instant::now();
    assert_eq!(told(flights.ask(DAY).await), Some((1, true)));
    assert_eq!(began.elapsed(), SETTINGS.summary_wait);

    say.send(true).unwrap();
    assert_eq!(told(flights.ask(DAY).await), Some((2, false)));
    assert_eq!(maker.made(), 2, "it was not begun again");
}

#[tokio::test(start_paused = true)]
async fn no_wait_exceeds_the_deadline_of_the_request() {
    let maker = Maker::default();
    let (flights, _supervisor) = flights(&maker, SETTINGS);
    let _never = maker.held();
    let began = tokio::time::Instant::now();
    let request = RequestContext::until(began + Duration::from_secs(5));
    assert_eq!(told(request.scope(flights.ask(DAY)).await), None);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn leaving_client_affects_no_other() {
    let maker = Maker::default();
    let (flights, _supervisor) = flights(&maker, SETTINGS);
    let say = maker.held();
    let first = Box::pin(flights.ask(DAY));
    let mut first = Some(first);
    assert!(first.as_mut().and_then(FutureExt::now_or_never).is_none());
    maker.began.notified().await;
    let other = flights.ask(DAY);
    pin_mut!(other);
    assert!(other.as_mut().now_or_never().is_none());
    first.take();
    assert!(other.as_mut().now_or_never().is_none());
    say.send(true).unwrap();

    assert_eq!(told(other.await), Some((1, false)));
    assert_eq!(maker.made(), 1);
}

#[tokio::test]
async fn abandoned_summary_is_there_for_the_next_caller() {
    let maker = Maker::default();
    let (flights, _supervisor) = flights(&maker, SETTINGS);
    let say = maker.held();
    begun_and_left(&flights, &maker).await;
    say.send(true).unwrap();
    assert_eq!(told(flights.ask(DAY).await), Some((1, false)));
    assert_eq!(maker.made(), 1);
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_no_summary() {
    let maker = Maker::default();
    let (flights, supervisor) = flights(&maker, SETTINGS);
    let _never = maker.held();
    begun_and_left(&flights, &maker).await;
    assert_eq!(supervisor.stop(Duration::from_secs(30)).await, [""; 0]);
    assert_eq!(
        told(flights.ask(DAY).await),
        None,
        "and no client waits for one"
    );
}

/// Summaries of a database.
struct Fixture {
    watched: Watched,
    source: Source,
    summary: Summary,
    _supervisor: Supervisor,
}

impl Fixture {
    /// A database with this many targets.
    async fn with_targets(count: usize) -> Self {
        let watched = Watched::new().await;
        watched.schedule(count).await;
        let source = Source {
            database: watched.database.clone(),
            cpu: Cpu::of_machine(),
        };
        let (supervisor, maker) = (Supervisor::new(), source.clone());
        let flights = Flights::start(&supervisor, SETTINGS, move |window| {
            maker.clone().make(window)
        });
        Self {
            watched,
            source,
            summary: Summary(flights.unwrap()),
            _supervisor: supervisor,
        }
    }

    /// Adds checks of each target, one a millisecond until this time. Each tenth is down.
    async fn fill(&self, count: i64, until: Timestamp) {
        let query = sqlx::query(
            "WITH RECURSIVE numbers (n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1)
             INSERT INTO checks (target_id, due_at, checked_at, reason, status, latency_ms)
             SELECT target_id, $2 - n, $2 - n, CASE WHEN n % 10 = 0 THEN 'timeout' END, NULL, n % 50
             FROM numbers, schedule",
        );
        let query = query.bind(count).bind(until);
        query.execute(self.watched.database.write()).await.unwrap();
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let routes = OpenApiRouter::new().nest("/v1", routes(self.summary.clone()));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = Router::from(routes).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 100_000).await;
        (status, serde_json::from_slice(&body.unwrap()).unwrap())
    }
}

#[tokio::test]
async fn each_check_of_the_window_counts_once() {
    let fixture = Fixture::with_targets(3).await;
    let now = Timestamp::now();
    // Several chunks, with many checks of the same due time at their ends.
    fixture.fill(7000, now).await;
    let hour = Duration::from_hours(1);
    // The last of these is a millisecond too old, or the first too new.
    fixture.fill(1, now.before(hour)).await;
    fixture.fill(1, Timestamp(now.0 + 1)).await;

    let report = fixture.source.count(Window::Hour, now).await.unwrap();

    let total = json!({
        "checks": 21_000, "up": 18_900, "availability": 0.9,
        "latency_ms": {"p50": 25, "p90": 45, "p99": 49},
    });
    assert_eq!(json!(report.total), total);
    assert_eq!((report.targets, report.worst.len()), (3, 3));
    let day = fixture.source.count(Window::Day, now).await.unwrap();
    assert_eq!(json!(day.total)["checks"], 21_003);
}

#[tokio::test]
async fn summary_is_computed_on_cpu_threads() {
    let fixture = Fixture::with_targets(1).await;
    fixture.fill(20, Timestamp::now()).await;
    fixture.source.cpu.stop(tokio::time::Instant::now()).await;

    let counted = fixture.source.count(DAY, Timestamp::now()).await;

    assert!(matches!(counted, Err(Failed::Cpu(_))), "{counted:?}");
}

#[tokio::test]
async fn last_summary_is_served_without_the_database() {
    let fixture = Fixture::with_targets(1).await;
    fixture.fill(20, Timestamp::now()).await;
    fixture.summary.warm().await.unwrap();
    let (status, fresh) = fixture.get("/v1/summary").await;
    assert_eq!((status, &fresh["stale"]), (200, &json!(false)));
    assert_eq!(
        (&fresh["window"], &fresh["total"]["checks"]),
        (&json!("24h"), &json!(20))
    );
    assert_eq!(fresh["worst"][0]["figures"], fresh["total"]);

    fixture
        .watched
        .run("ALTER TABLE checks RENAME TO gone")
        .await;
    fixture.summary.0.let_go_stale(DAY).await;
    let (status, stale) = fixture.get("/v1/summary?window=24h").await;
    let mut expected = fresh.clone();
    expected["stale"] = json!(true);
    assert_eq!((status, stale), (200, expected));
    let (status, problem) = fixture.get("/v1/summary?window=7d").await;
    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")));

    fixture
        .watched
        .run("ALTER TABLE gone RENAME TO checks")
        .await;
    let (status, again) = fixture.get("/v1/summary").await;
    assert_eq!((status, &again["stale"]), (200, &json!(false)));
    assert!(again["as_of"].as_str() > fresh["as_of"].as_str());
}

#[tokio::test]
async fn unknown_window_is_refused() {
    let fixture = Fixture::with_targets(0).await;
    for query in ["window=2h", "window=", "since=1h"] {
        let (status, problem) = fixture.get(&format!("/v1/summary?{query}")).await;
        let parameter = query.split('=').next().unwrap();
        assert_eq!(status, 400, "{query}");
        assert_eq!(problem["errors"][0]["parameter"], parameter);
    }
    let (status, empty) = fixture.get("/v1/summary").await;
    assert_eq!(
        (status, &empty["total"]),
        (200, &json!({"checks": 0, "up": 0}))
    );
}
