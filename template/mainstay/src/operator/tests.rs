//! Who may see and order what.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use config::ValueKind;
use futures_util::FutureExt;
use tower::ServiceExt;

use super::{OperatorState, Token, routes};
use crate::health::{self, Health};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::settings::Setting;
use crate::supervisor::Supervisor;
use crate::telemetry::Filtering;
use crate::watchdog::Pulse;

fn state(token: Option<&str>) -> Arc<OperatorState> {
    let settings = health::Settings {
        period: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        stall: Duration::from_secs(30),
    };
    let secret = |text: &str| Setting::parse(&ValueKind::String(text.to_owned())).unwrap();
    let (lifecycle, supervisor, pulse) =
        (Lifecycle::starting(), Supervisor::new(), Pulse::default());
    Arc::new(OperatorState {
        health: Health::watched(&settings, &lifecycle, &supervisor, &pulse),
        lifecycle,
        supervisor,
        pulse,
        metrics: Metrics::install().unwrap(),
        observed: Mutex::default(),
        settings: Vec::new(),
        filtering: Filtering::for_test(),
        token: token.map(|text| Token::new(secret(text))),
    })
}

async fn ask(state: &Arc<OperatorState>, request: Builder) -> (u16, String) {
    let request = request.header("host", "127.0.0.1:9090");
    let request = request.body(Body::empty()).unwrap();
    let response = routes(Arc::clone(state)).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1_000_000);
    (
        status,
        String::from_utf8(body.await.unwrap().into()).unwrap(),
    )
}

#[tokio::test]
async fn stop_is_refused_to_pages_of_other_sites() {
    let state = state(None);
    let order = async |origin: &str| {
        let request = Request::post("/api/stop").header("origin", origin);
        ask(&state, request).await.0
    };
    let is_asked = || state.lifecycle.stop_requested().now_or_never().is_some();

    for foreign in ["https://elsewhere.example", "null"] {
        assert_eq!(order(foreign).await, 403, "{foreign}");
    }
    assert!(!is_asked());

    assert_eq!(order("http://127.0.0.1:9090").await, 202);
    assert!(is_asked());
}

#[tokio::test]
async fn metrics_need_the_token() {
    let state = state(Some("hunter2"));
    let scrape = async |authorization: &str| {
        let request = Request::get("/metrics").header("authorization", authorization);
        ask(&state, request).await
    };

    for wrong in ["", "Bearer", "Bearer hunter", "hunter2"] {
        let (status, body) = scrape(wrong).await;
        assert_eq!(status, 401, "{wrong}");
        assert!(!body.contains("# TYPE"), "{body}");
    }
    assert_eq!(ask(&state, Request::get("/livez")).await.0, 200);

    let (status, body) = scrape("Bearer hunter2").await;
    assert_eq!(status, 200);
    assert!(body.contains("build_info{") && !body.contains("hunter2"));
}
