use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{Method, Request};

use super::{Numbers, OperatorState, routes};
use crate::Importance;
use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::metrics::catalog::SECTIONS;
use crate::metrics::pools::PoolStatus;
use crate::server::{Limits, Sockets};
use crate::supervisor::Supervisor;
use crate::telemetry::FilterHandle;
use crate::testing::Exposition;
use crate::tests::{request, send, settings};

fn state(token: Option<&str>) -> Arc<OperatorState> {
    let secret = |text: &str| serde_json::from_value(text.into()).unwrap();
    let (lifecycle, supervisor) = (Lifecycle::starting(), Supervisor::new());
    Arc::new(OperatorState {
        health: Health::new(&settings(&[]).health, &lifecycle, &supervisor),
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

#[tokio::test]
async fn stop_is_refused_to_other_origins() {
    let state = state(None);
    let routes = routes(Arc::clone(&state));
    let order = async |origin: &str| {
        let request = request("POST", "/api/stop").header("origin", origin);
        send(&routes, request, "").await.status
    };
    let is_asked = || state.lifecycle.stop_requested.is_cancelled();

    for foreign in ["https://elsewhere.example", "null"] {
        assert_eq!(order(foreign).await, 403, "{foreign}");
    }
    assert!(!is_asked());

    assert_eq!(order("http://localhost").await, 202);
    assert!(is_asked());
}

#[tokio::test]
async fn only_names_of_this_machine_are_accepted() {
    let routes = routes(state(None));
    for (host, status) in [
        ("localhost:9090", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:9090", 200),
        ("[::1]:9090", 200),
        ("evil.example:9090", 421),
        ("127.0.0.1.evil.example", 421),
        ("192.0.2.1:9090", 421),
    ] {
        let request = Request::get("/metrics").header("host", host);
        assert_eq!(send(&routes, request, "").await.status, status, "{host}");
    }
}

#[tokio::test]
async fn metrics_need_the_token() {
    let state = state(Some("hunter2"));
    let routes = routes(Arc::clone(&state));
    let scrape = async |authorization: &str| {
        let request = request("GET", "/metrics").header("authorization", authorization);
        send(&routes, request, "").await
    };

    for wrong in ["", "Bearer", "Bearer hunter", "hunter2", "Basic hunter2"] {
        let refused = scrape(wrong).await;
        assert_eq!(refused.status, 401, "{wrong}");
        assert!(!refused.body.contains("# TYPE"), "{refused:?}");
    }
    let livez = send(&routes, request("GET", "/livez"), "").await;
    assert_eq!(livez.status, 200);

    let answer = scrape("bearer hunter2").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("build_info{") && !answer.body.contains("hunter2"));
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
    let health = &state.health;
    let check = health.register_check("dependency", Importance::Required, passes);
    check.unwrap();
    let requests = state.metrics.requests();
    requests.begin();
    requests.end(&Method::GET, "/", 200, Duration::from_millis(1), [1, 1]);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let scrape = send(&routes(state), request("GET", "/metrics"), "").await;

    assert_eq!(scrape.status, 200);
    let scrape = Exposition::read(&scrape.body);
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
