mod page;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::{get, post};
use tower::ServiceExt;

use super::Metrics;
use super::catalog::{BUILD_INFO, POOL_WAIT};
use super::histogram::{Histogram, SIZES};
use super::http::{Ended, Recorder};
use super::text::{Counts, Text};
use crate::edge;
use crate::testing::Exposition;

fn edge(requests: Recorder) -> Router {
    let routes = Router::new()
        .route("/echo/{name}", post(|body: String| async { body }))
        .route("/panic", get(async || -> () { panic!("on purpose") }))
        .route("/never", get(async || std::future::pending::<()>().await));
    edge::protect(routes, &edge::tests::http(&[]), requests)
}

fn request(method: &str, path: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "localhost");
    request.body(Body::from(body.to_owned())).unwrap()
}

fn read(requests: Recorder) -> Exposition {
    let mut text = Text::default();
    requests.write(&mut text);
    Exposition::read(&text.into_string())
}

const ACTIVE: &str = "http_server_active_requests";

#[tokio::test]
async fn request_is_counted_by_route_with_time_and_bodies() {
    let requests = Recorder::new();
    for body in ["short", &"long".repeat(100)] {
        let request = request("POST", "/echo/Ada?secret=hunter2", body);
        edge(requests).oneshot(request).await.unwrap();
    }

    let seen = read(requests);

    let series = |family: &str, more: &str| {
        format!("http_server_{family}{{method=\"POST\",route=\"/echo/{{name}}\"{more}}}")
    };
    let of = |family: &str, more: &str| seen.count(&series(family, more));
    assert_eq!(of("request_duration_seconds_count", ",status=\"2xx\""), 2);
    let time = seen.value(&series("request_duration_seconds_sum", ",status=\"2xx\""));
    assert!(time > 0.0 && time < 1.0, "{time} seconds");
    for bodies in ["request_body_size_bytes", "response_body_size_bytes"] {
        assert_eq!(of(&format!("{bodies}_bucket"), ",le=\"256\""), 1);
        assert_eq!(of(&format!("{bodies}_bucket"), ",le=\"1024\""), 2);
        assert_eq!(of(&format!("{bodies}_sum"), ""), 405);
    }
}

#[tokio::test]
async fn a_request_whose_client_leaves_is_in_flight_no_more() {
    let requests = Recorder::new();
    let mut asking = Box::pin(edge(requests).oneshot(request("GET", "/never", "")));
    assert!(futures_util::poll!(&mut asking).is_pending());
    assert_eq!(read(requests).count(ACTIVE), 1);

    drop(asking);

    let seen = read(requests);
    assert_eq!(seen.count(ACTIVE), 0);
    let left = r#"{method="GET",route="/never",status="4xx"}"#;
    let duration = "http_server_request_duration_seconds_count";
    assert_eq!(seen.count(&format!("{duration}{left}")), 1);
}

#[tokio::test]
async fn a_request_whose_handler_panics_is_in_flight_no_more() {
    let requests = Recorder::new();
    edge(requests)
        .oneshot(request("GET", "/panic", ""))
        .await
        .unwrap();

    let seen = read(requests);
    assert_eq!(seen.count(ACTIVE), 0);
    let failed = r#"{method="GET",route="/panic",status="5xx"}"#;
    let duration = "http_server_request_duration_seconds_count";
    assert_eq!(seen.count(&format!("{duration}{failed}")), 1);

    // Nor is one where the panic is not caught.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _in_flight = requests.begin();
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert_eq!(read(requests).count(ACTIVE), 0);
}

#[tokio::test]
async fn a_thousand_strange_paths_and_methods_make_no_series() {
    let requests = Recorder::new();
    let edge = edge(requests);
    let ask = async |method: &str, path: &str| {
        let asked = edge.clone().oneshot(request(method, path, ""));
        asked.await.unwrap();
    };
    ask("GET", "/nothing").await;
    ask("STRANGE", "/nothing").await;
    ask("STRANGE", "/echo/Ada").await;
    let before = read(requests).series;

    for n in 0..1000 {
        ask("GET", &format!("/nothing/{n}")).await;
        ask(&format!("METHOD{n}"), &format!("/{n}")).await;
        ask(&format!("METHOD{n}"), &format!("/echo/{n}")).await;
    }

    let mut after = read(requests).series;
    after.retain(|series, _| !before.contains_key(series));
    assert!(after.is_empty(), "{:?}", after.keys().next());
}

#[test]
fn what_many_threads_record_at_once_is_all_counted() {
    const THREADS: usize = 8;
    // More routes than there is room for, each asked for by all threads at about the same time.
    const ROUTES: usize = 1500;
    let requests = Recorder::new();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                barrier.wait();
                for route in 0..ROUTES {
                    let in_flight = requests.begin();
                    in_flight.ended(&Ended {
                        method: &Method::GET,
                        route: Some(&format!("/{route}")),
                        status: 200,
                        took: Duration::from_millis(1),
                        bodies: [None, Some(1)],
                    });
                }
            });
        }
    });

    let seen = read(requests);
    assert_eq!(seen.count(ACTIVE), 0);
    let series = seen.series.keys();
    let counts = series.filter(|it| it.starts_with("http_server_request_duration_seconds_count{"));
    let counts: Vec<_> = counts.map(|series| seen.count(series)).collect();
    assert_eq!(
        counts.len(),
        1025,
        "one for each in the table, one for all others"
    );
    assert_eq!(counts.iter().sum::<u64>(), 8 * 1500);
    assert_eq!(counts.iter().filter(|count| **count == 8).count(), 1024);
}

#[test]
fn requests_that_are_shed_are_counted() {
    let requests = Recorder::new();
    requests.shed();
    requests.shed();
    assert_eq!(read(requests).count("http_server_requests_shed_total"), 2);
}

#[test]
fn a_status_of_no_class_is_counted_as_other() {
    let requests = Recorder::new();
    for status in [999, 0] {
        requests.begin().ended(&Ended {
            method: &Method::GET,
            route: None,
            status,
            took: Duration::ZERO,
            bodies: [None, None],
        });
    }
    let other = r#"{method="GET",route="unmatched",status="other"}"#;
    let duration = "http_server_request_duration_seconds_count";
    let counted = read(requests).count(&format!("{duration}{other}"));
    assert_eq!(counted, 2);
}

#[test]
fn a_value_is_in_the_bucket_whose_bound_it_does_not_exceed() {
    let histogram = Histogram::new(&SIZES);
    for value in [0, 256, 257, 1 << 26, (1 << 26) + 1] {
        histogram.record(value);
    }
    let Counts {
        buckets,
        beyond,
        sum,
    } = histogram.counts();
    assert_eq!(buckets[..2], [(256.0, 2), (1024.0, 1)]);
    assert_eq!((buckets[9], beyond), ((67_108_864.0, 1), 1));
    assert_eq!(sum.to_string(), "134218242");
}

#[test]
fn the_value_of_a_label_can_be_anything() {
    let strange = "a\"quote\", a \\ and\na line{le=\"1\"}";
    let mut text = Text::default();
    text.family(&BUILD_INFO).sample(&[strange, "", "ü"], 1);
    let counts = Counts {
        buckets: vec![(0.5, 1)],
        beyond: 2,
        sum: 7.5,
    };
    text.family(&POOL_WAIT).histogram(&[strange], &counts);

    let seen = Exposition::read(&text.into_string());

    assert_eq!(seen.series.len(), 5);
    let quoted = r#"a\"quote\", a \\ and\na line{le=\"1\"}"#;
    let pool = format!("db_client_connection_wait_time_seconds_count{{pool=\"{quoted}\"}}");
    assert_eq!(seen.count(&pool), 3);
}

#[tokio::test]
async fn own_metrics_survive_a_second_install() {
    let metrics = Metrics::install().unwrap();
    ::metrics::describe_counter!("of_a_test_total", "Counted by a test.");
    ::metrics::counter!("of_a_test_total", "kind" => "first").increment(1);
    let again = Metrics::install().unwrap();
    ::metrics::counter!("of_a_test_total", "kind" => "first").increment(1);
    ::metrics::describe_histogram!("of_a_test_bytes", "Recorded by a test.");
    ::metrics::histogram!("of_a_test_bytes").record(1000.0);

    for Metrics { own, .. } in [metrics, again] {
        own.tidy();
        let seen = Exposition::read(&own.text());
        assert_eq!(seen.count(r#"of_a_test_total{kind="first"}"#), 2);
        assert_eq!(seen.count(r#"of_a_test_bytes_bucket{le="256"}"#), 0);
        assert_eq!(seen.count(r#"of_a_test_bytes_bucket{le="1024"}"#), 1);
    }
}
