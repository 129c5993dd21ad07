//! The servers that the service is compared with: `contender WHICH ADDRESS` serves the same two
//! routes with axum alone, or with axum and the usual layers: with tower-http's `TraceLayer`, or
//! with one event for each request instead.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::{DefaultMakeSpan, DefaultOnResponse, TraceLayer};
use tracing::Level;
use tracing_appender::non_blocking::WorkerGuard;

type Outcome = Result<(), Box<dyn Error>>;

#[derive(Debug, Deserialize, Serialize)]
struct Target {
    name: String,
    url: String,
    interval: u32,
}

#[tokio::main]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let (which, address) = (arguments.next(), arguments.next());
    let address: SocketAddr = address.ok_or("no address")?.parse()?;
    let listener = TcpListener::bind(address).await?;
    match which.as_deref() {
        Some("axum") => Ok(axum::serve(listener, routes()).await?),
        Some("usual") => usual(listener).await,
        Some("lean") => lean(listener).await,
        _ => Err("axum, usual or lean?".into()),
    }
}

fn routes() -> Router {
    Router::new().route("/plain", get(async || "hello")).route(
        "/json",
        post(async |Json(target): Json<Target>| Json(target)),
    )
}

/// axum with a JSON log, request ids, deadlines, caught panics and metrics, each from the
/// best-known crate, in the order that their documentation recommends.
async fn usual(listener: TcpListener) -> Outcome {
    let _written = observed()?;
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(ID, MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(DefaultMakeSpan::new().level(Level::INFO))
                .on_response(DefaultOnResponse::new().level(Level::INFO)),
        )
        .layer(PropagateRequestIdLayer::new(ID))
        .layer(CatchPanicLayer::new())
        .layer(timeout());
    let routes = routes().route_layer(middleware::from_fn(measured));
    Ok(axum::serve(listener, routes.layer(layers)).await?)
}

/// The same with one event for each request instead of a span, as in services that were tuned.
async fn lean(listener: TcpListener) -> Outcome {
    let _written = observed()?;
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(ID, MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(ID))
        .layer(CatchPanicLayer::new())
        .layer(timeout());
    let routes = routes()
        .route_layer(middleware::from_fn(measured))
        .route_layer(middleware::from_fn(logged));
    Ok(axum::serve(listener, routes.layer(layers)).await?)
}

const ID: HeaderName = HeaderName::from_static("x-request-id");

fn timeout() -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(30))
}

/// Installs a log that does not block on its file, and metrics.
fn observed() -> Result<WorkerGuard, Box<dyn Error>> {
    let (writer, written) = tracing_appender::non_blocking(std::io::stdout());
    tracing_subscriber::fmt().json().with_writer(writer).init();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    let upkeep = async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            recorder.run_upkeep();
        }
    };
    tokio::spawn(upkeep);
    Ok(written)
}

async fn logged(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let id = request.headers().get(ID).cloned();
    let response = next.run(request).await;
    tracing::info!(
        method = method.as_str(),
        route = route.as_ref().map(MatchedPath::as_str),
        status = response.status().as_u16(),
        duration_ms = began.elapsed().as_secs_f64() * 1e3,
        request_id = id.as_ref().and_then(|id| id.to_str().ok()),
        "request"
    );
    response
}

/// As in axum's own example.
async fn measured(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(String::new, |route| route.as_str().to_owned());
    let method = request.method().to_string();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    let labels = [("method", method), ("path", route), ("status", status)];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_requests_duration_seconds", &labels).record(began.elapsed());
    response
}
