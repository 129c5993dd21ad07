mod page;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use ::metrics::{counter, describe_counter, describe_histogram, gauge, histogram};
use axum::Router;
use axum::http::Method;
use axum::routing::{get, post};

use super::Metrics;
use super::http::Recorder;
use super::registry::Registry;
use super::text::Text;
use crate::edge;
use crate::testing::Exposition;
use crate::tests::{request, send, settings};

const ACTIVE: &str = "http_server_active_requests";
const DURATION_COUNT: &str = "http_server_request_duration_seconds_count";

/// Sends a request through the edge, which records it.
async fn ask(recorder: Recorder, method: &str, path: &str, body: &str) {
    let routes = Router::new()
        .route("/echo/{name}", post(|body: String| async { body }))
        .route("/panic", get(async || -> () { panic!("on purpose") }))
        .route("/never", get(async || std::future::pending::<()>().await));
    let routes = edge::protect(routes, &settings(&[]).http, recorder);
    send(&routes, request(method, path), body.to_owned()).await;
}

fn scrape(recorder: Recorder) -> Exposition {
    let mut text = Text::default();
    recorder.write(&mut text);
    Exposition::read(&text.into_string())
}

/// The number of ended requests with GET.
fn ended(scrape: &Exposition, route: &str, status: &str) -> u64 {
    let labels = format!(r#"{{method="GET",route="{route}",status="{status}"}}"#);
    scrape.count(&format!("{DURATION_COUNT}{labels}"))
}

fn record(recorder: Recorder, route: &str, status: u16) {
    recorder.begin();
    let took = Duration::from_millis(1);
    recorder.end(&Method::GET, route, status, took, [0, 1]);
}

#[tokio::test]
async fn request_is_counted_by_route_with_time_and_bodies() {
    let recorder = Recorder::default();
    for length in [256, 257] {
        let body = "x".repeat(length);
        ask(recorder, "POST", "/echo/Ada?secret=hunter2", &body).await;
    }

    let scrape = scrape(recorder);

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
        let bucket = format!("{bodies}_bucket");
        assert_eq!(count(&bucket, ",le=\"256\""), 1, "the bound belongs to it");
        assert_eq!(count(&bucket, ",le=\"1024\""), 2);
        assert_eq!(count(&format!("{bodies}_sum"), ""), 513);
    }
}

#[tokio::test]
async fn request_whose_client_left_is_not_active() {
    let recorder = Recorder::default();
    let mut asking = Box::pin(ask(recorder, "GET", "/never", ""));
    assert!(futures_util::poll!(&mut asking).is_pending());
    assert_eq!(scrape(recorder).count(ACTIVE), 1);

    drop(asking);

    let scrape = scrape(recorder);
    assert_eq!(scrape.count(ACTIVE), 0);
    assert_eq!(ended(&scrape, "/never", "4xx"), 1);
}

#[tokio::test]
async fn request_whose_handler_panicked_is_not_active() {
    let recorder = Recorder::default();
    ask(recorder, "GET", "/panic", "").await;

    let scrape = scrape(recorder);
    assert_eq!(scrape.count(ACTIVE), 0);
    assert_eq!(ended(&scrape, "/panic", "5xx"), 1);
}

#[tokio::test]
async fn unknown_paths_and_methods_create_no_series() {
    let recorder = Recorder::default();
    let ask_all = async |number: u32| {
        let method = format!("METHOD{number}");
        ask(recorder, "GET", &format!("/nothing/{number}"), "").await;
        ask(recorder, &method, &format!("/{number}"), "").await;
        ask(recorder, &method, &format!("/echo/{number}"), "").await;
    };
    ask_all(0).await;
    let before = scrape(recorder).series;

    for number in 1..1000 {
        ask_all(number).await;
    }

    let mut after = scrape(recorder).series;
    after.retain(|series, _| !before.contains_key(series));
    assert!(after.is_empty(), "{:?}", after.keys().next());
}

#[test]
fn concurrent_requests_are_all_counted() {
    const THREADS: u64 = 8;
    let recorder = Recorder::default();
    let barrier = Barrier::new(8);
    let routes: Vec<_> = (0..100).map(|route| format!("/{route}")).collect();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for route in &routes {
                    record(recorder, route, 200);
                }
            });
        }
    });

    let scrape = scrape(recorder);
    assert_eq!(scrape.count(ACTIVE), 0);
    for route in &routes {
        assert_eq!(ended(&scrape, route, "2xx"), THREADS, "{route}");
    }
}

#[test]
fn shed_requests_and_odd_statuses_are_counted() {
    let recorder = Recorder::default();
    recorder.shed();
    for status in [999, 0] {
        record(recorder, "/", status);
    }
    let scrape = scrape(recorder);
    assert_eq!(scrape.count("http_server_requests_shed_total"), 1);
    assert_eq!(ended(&scrape, "/", "other"), 2);
}

#[tokio::test]
async fn macros_record_into_every_installed_registry() {
    let metrics = Metrics::install();
    describe_counter!("of_a_test_total", "Counted by a test.");
    counter!("of_a_test_total", "kind" => "first").increment(1);
    let again = Metrics::install();
    counter!("of_a_test_total", "kind" => "first").increment(1);
    describe_histogram!("of_a_test_bytes", "Recorded by a test.");
    for value in [0.0, 257.0, 67_108_864.0, 67_108_865.0] {
        histogram!("of_a_test_bytes").record(value);
    }

    for metrics in [metrics, again] {
        let scrape = Exposition::read(&metrics.text(|_| {}));
        assert_eq!(scrape.count(r#"of_a_test_total{kind="first"}"#), 2);
        for (bound, count) in [("256", 1), ("1024", 2), ("67108864", 3), ("+Inf", 4)] {
            let bucket = format!("of_a_test_bytes_bucket{{le=\"{bound}\"}}");
            assert_eq!(scrape.count(&bucket), count, "{bound}");
        }
        assert_eq!(scrape.count("of_a_test_bytes_sum"), 134_217_986);
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
