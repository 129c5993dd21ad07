mod page;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use ::metrics::{HistogramFn, counter, describe_counter, describe_histogram, gauge, histogram};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::{get, post};
use tower::ServiceExt;

use super::Metrics;
use super::histogram::Histogram;
use super::http::Recorder;
use super::registry::Registry;
use super::text::Text;
use crate::edge;
use crate::testing::Exposition;

const ACTIVE: &str = "http_server_active_requests";
const DURATION_COUNT: &str = "http_server_request_duration_seconds_count";

/// A recorder that belongs to no process.
#[derive(Default)]
struct Requests {
    recorder: Recorder,
}

impl Requests {
    fn edge(&self) -> Router {
        let routes = Router::new()
            .route("/echo/{name}", post(|body: String| async { body }))
            .route("/panic", get(async || -> () { panic!("on purpose") }))
            .route("/never", get(async || std::future::pending::<()>().await));
        edge::protect(routes, &edge::tests::http(&[]), self.recorder)
    }

    async fn ask(&self, method: &str, path: &str, body: &str) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("host", "localhost");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.edge().oneshot(request).await.unwrap();
    }

    fn scrape(&self) -> Exposition {
        let mut text = Text::default();
        self.recorder.write(&mut text);
        Exposition::read(&text.into_string())
    }
}

fn record(requests: &Requests, route: &str, status: u16) {
    requests.recorder.begin();
    let took = Duration::from_millis(1);
    let recorder = requests.recorder;
    recorder.end(&Method::GET, route, status, took, [0, 1]);
}

#[tokio::test]
async fn request_is_counted_by_route_with_time_and_bodies() {
    let requests = Requests::default();
    for body in ["short", &"long".repeat(100)] {
        requests.ask("POST", "/echo/Ada?secret=hunter2", body).await;
    }

    let scrape = requests.scrape();

    let series = |family: &str, more: &str| {
        format!("http_server_{family}{{method=\"POST\",route=\"/echo/{{name}}\"{more}}}")
    };
    let count = |family: &str, more: &str| scrape.count(&series(family, more));
    assert_eq!(
        count("request_duration_seconds_count", ",status=\"2xx\""),
        2
    );
    let time = series("request_duration_seconds_sum", ",status=\"2xx\"");
    let time: f64 = scrape.series[&time].parse().unwrap();
    assert!(time > 0.0 && time < 1.0, "{time} seconds");
    for bodies in ["request_body_size_bytes", "response_body_size_bytes"] {
        assert_eq!(count(&format!("{bodies}_bucket"), ",le=\"256\""), 1);
        assert_eq!(count(&format!("{bodies}_bucket"), ",le=\"1024\""), 2);
        assert_eq!(count(&format!("{bodies}_sum"), ""), 405);
    }
}

#[tokio::test]
async fn request_whose_client_left_is_not_active() {
    let requests = Requests::default();
    let mut asking = Box::pin(requests.ask("GET", "/never", ""));
    assert!(futures_util::poll!(&mut asking).is_pending());
    assert_eq!(requests.scrape().count(ACTIVE), 1);

    drop(asking);

    let scrape = requests.scrape();
    assert_eq!(scrape.count(ACTIVE), 0);
    let left = r#"{method="GET",route="/never",status="4xx"}"#;
    assert_eq!(scrape.count(&format!("{DURATION_COUNT}{left}")), 1);
}

#[tokio::test]
async fn request_whose_handler_panicked_is_not_active() {
    let requests = Requests::default();
    requests.ask("GET", "/panic", "").await;

    let scrape = requests.scrape();
    assert_eq!(scrape.count(ACTIVE), 0);
    let failed = r#"{method="GET",route="/panic",status="5xx"}"#;
    assert_eq!(scrape.count(&format!("{DURATION_COUNT}{failed}")), 1);
}

#[tokio::test]
async fn unknown_paths_and_methods_create_no_series() {
    let requests = Requests::default();
    requests.ask("GET", "/nothing", "").await;
    requests.ask("STRANGE", "/nothing", "").await;
    requests.ask("STRANGE", "/echo/Ada", "").await;
    let before = requests.scrape().series;

    for n in 0..1000 {
        requests.ask("GET", &format!("/nothing/{n}"), "").await;
        let method = format!("METHOD{n}");
        requests.ask(&method, &format!("/{n}"), "").await;
        requests.ask(&method, &format!("/echo/{n}"), "").await;
    }

    let mut after = requests.scrape().series;
    after.retain(|series, _| !before.contains_key(series));
    assert!(after.is_empty(), "{:?}", after.keys().next());
}

#[test]
fn concurrent_requests_are_all_counted() {
    const THREADS: usize = 8;
    const ROUTES: usize = 100;
    let requests = Requests::default();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for route in 0..ROUTES {
                    record(&requests, &format!("/{route}"), 200);
                }
            });
        }
    });

    let scrape = requests.scrape();
    assert_eq!(scrape.count(ACTIVE), 0);
    let series = scrape.series.keys();
    let counts = series.filter(|it| it.starts_with(DURATION_COUNT));
    let counts: Vec<_> = counts.map(|series| scrape.count(series)).collect();
    assert_eq!(counts.iter().sum::<u64>(), (THREADS * ROUTES) as u64);
    assert_eq!(counts.len(), ROUTES);
}

#[test]
fn shed_requests_and_odd_statuses_are_counted() {
    let requests = Requests::default();
    requests.recorder.shed();
    for status in [999, 0] {
        record(&requests, "/", status);
    }
    let scrape = requests.scrape();
    assert_eq!(scrape.count("http_server_requests_shed_total"), 1);
    let other = r#"{method="GET",route="/",status="other"}"#;
    assert_eq!(scrape.count(&format!("{DURATION_COUNT}{other}")), 2);
}

#[test]
fn value_on_a_bound_belongs_to_its_bucket() {
    let histogram = Histogram::of_sizes();
    for value in [0.0, 256.0, 257.0, 67_108_864.0, 67_108_865.0] {
        histogram.record(value);
    }
    let (bounds, counts): (Vec<_>, Vec<_>) = histogram.buckets().unzip();
    assert_eq!(bounds[..2], ["256", "1024"]);
    assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(histogram.sum().to_string(), "134218242");
}

#[tokio::test]
async fn macros_record_into_every_installed_registry() {
    let metrics = Metrics::install();
    describe_counter!("of_a_test_total", "Counted by a test.");
    counter!("of_a_test_total", "kind" => "first").increment(1);
    let again = Metrics::install();
    counter!("of_a_test_total", "kind" => "first").increment(1);
    describe_histogram!("of_a_test_bytes", "Recorded by a test.");
    histogram!("of_a_test_bytes").record(1000.0);

    for metrics in [metrics, again] {
        let scrape = Exposition::read(&metrics.text(|_| {}));
        assert_eq!(scrape.count(r#"of_a_test_total{kind="first"}"#), 2);
        assert_eq!(scrape.count(r#"of_a_test_bytes_bucket{le="256"}"#), 0);
        assert_eq!(scrape.count(r#"of_a_test_bytes_bucket{le="1024"}"#), 1);
    }
}

#[test]
fn conflicting_kinds_and_illegal_names_keep_the_text_valid() {
    let registry = Registry::default();
    ::metrics::with_local_recorder(&registry, || {
        describe_counter!("mixed_total", "Help\nin two lines.");
        counter!("mixed_total").increment(1);
        gauge!("mixed_total", "kind" => "gauge").set(7);
        gauge!("mixed_total").set(7);
        describe_counter!("queue.jobs-done_total", "With a name of another system.");
        counter!("queue.jobs-done_total", "job-kind" => "a \"b\" \\\n{le=\"1\"}").increment(3);
    });
    let mut text = Text::default();
    registry.write(&mut text);

    let scrape = Exposition::read(&text.into_string());

    assert_eq!(scrape.series.len(), 2);
    assert_eq!(scrape.count("mixed_total"), 1);
    let escaped = r#"queue_jobs_done_total{job_kind="a \"b\" \\\n{le=\"1\"}"}"#;
    assert_eq!(scrape.count(escaped), 3);
}
