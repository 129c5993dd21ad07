use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{Method, Request};
use tower::ServiceExt;

use super::{Numbers, OperatorState, routes};
use crate::Importance;
use crate::health::{self, Health};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::metrics::catalog::SECTIONS;
use crate::metrics::pools::PoolStatus;
use crate::server::{Limits, Sockets};
use crate::supervisor::Supervisor;
use crate::telemetry::FilterHandle;
use crate::testing::{Answer, Exposition};

fn state(token: Option<&str>) -> Arc<OperatorState> {
    let settings = health::Settings {
        period: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        stall: Duration::from_secs(30),
    };
    let secret = |text: &str| serde_json::from_value(text.into()).unwrap();
    let (lifecycle, supervisor) = (Lifecycle::starting(), Supervisor::new());
    Arc::new(OperatorState {
        health: Health::new(&settings, &lifecycle, &supervisor),
        lifecycle,
        supervisor,
        metrics: Metrics::install(),
        numbers: Box::new(Numbers::default),
        settings: Vec::new(),
        log_filter: FilterHandle::new(&crate::telemetry::Filter::parse("info").unwrap()).1,
        token: token.map(secret),
        refused: AtomicU64::new(0),
    })
}

async fn ask(state: &Arc<OperatorState>, request: Builder) -> (u16, String) {
    let request = request.header("host", "127.0.0.1:9090");
    let request = request.body(Body::empty()).unwrap();
    let response = routes(Arc::clone(state)).oneshot(request).await.unwrap();
    let answer = Answer::read(response).await.unwrap();
    (answer.status, answer.body)
}

#[tokio::test]
async fn stop_is_refused_to_other_origins() {
    let state = state(None);
    let order = async |origin: &str| {
        let request = Request::post("/api/stop").header("origin", origin);
        ask(&state, request).await.0
    };
    let is_asked = || state.lifecycle.stop_requested.is_cancelled();

    for foreign in ["https://elsewhere.example", "null"] {
        assert_eq!(order(foreign).await, 403, "{foreign}");
    }
    assert!(!is_asked());

    assert_eq!(order("http://127.0.0.1:9090").await, 202);
    assert!(is_asked());
}

#[tokio::test]
async fn only_names_of_this_machine_are_accepted() {
    let state = state(None);
    for (host, is_local) in [
        ("localhost:9090", true),
        ("LOCALHOST", true),
        ("127.0.0.1:9090", true),
        ("[::1]:9090", true),
        ("evil.example:9090", false),
        ("127.0.0.1.evil.example", false),
        ("192.0.2.1:9090", false),
    ] {
        let request = Request::get("/metrics").header("host", host);
        let request = request.body(Body::empty()).unwrap();
        let response = routes(Arc::clone(&state)).oneshot(request).await.unwrap();
        let expected = if is_local { 200 } else { 421 };
        assert_eq!(response.status(), expected, "{host}");
    }
}

#[tokio::test]
async fn metrics_need_the_token() {
    let state = state(Some("hunter2"));
    let scrape = async |authorization: &str| {
        let request = Request::get("/metrics").header("authorization", authorization);
        ask(&state, request).await
    };

    for wrong in ["", "Bearer", "Bearer hunter", "hunter2", "Basic hunter2"] {
        let (status, body) = scrape(wrong).await;
        assert_eq!(status, 401, "{wrong}");
        assert!(!body.contains("# TYPE"), "{body}");
    }
    assert_eq!(ask(&state, Request::get("/livez")).await.0, 200);

    let (status, body) = scrape("bearer hunter2").await;
    assert_eq!(status, 200);
    assert!(body.contains("build_info{") && !body.contains("hunter2"));
    assert_eq!(state.refused.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn scrape_has_every_metric_of_the_catalog() {
    let mut state = state(None);
    let socket = Sockets::from_env(&[]).take("http", ([127, 0, 0, 1], 0).into());
    let listener = socket.unwrap().serve(Router::new(), &Limits::OPERATOR);
    let listener = listener.unwrap();
    Arc::get_mut(&mut state).unwrap().numbers = Box::new(move || {
        let mut numbers = Numbers::default();
        listener.add_to(numbers.http.get_or_insert_default());
        let main = PoolStatus::default();
        numbers.database = Some([("main".to_owned(), main)].into());
        numbers
    });
    let passes = || async { Ok::<_, String>(()) };
    let check = ("dependency", Importance::Required);
    let health = &state.health;
    health.register_check(check.0, check.1, passes).unwrap();
    let requests = state.metrics.requests();
    requests.begin();
    requests.end(&Method::GET, "/", 200, Duration::from_millis(1), [1, 1]);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let (status, body) = ask(&state, Request::get("/metrics")).await;

    assert_eq!(status, 200);
    let scrape = Exposition::read(&body);
    for family in SECTIONS.iter().flat_map(|(_, families)| *families) {
        let name = family.name;
        let is_built = if name.starts_with("idempotency_") {
            cfg!(all(feature = "idempotency", feature = "_database"))
        } else {
            cfg!(feature = "otlp") || !name.starts_with("otlp_")
        };
        if !is_built {
            continue;
        }
        let kind = scrape.families.get(name).map(String::as_str);
        assert_eq!(kind, Some(family.kind), "{name}");
        // Without a collector, the export has no samples.
        let has_sample = scrape.series.keys().any(|series| series.starts_with(name));
        assert!(has_sample || name.starts_with("otlp_"), "{name}");
    }
}
