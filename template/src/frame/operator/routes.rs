//! What an operator can see and order.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use super::log_filter;
use super::token::Token;
use crate::frame::cli::VERSION;
use crate::frame::database::{Database, Numbers};
use crate::frame::edge::{is_foreign, named, says_no_two_hosts};
use crate::frame::health::Health;
use crate::frame::input::{Json, Path};
use crate::frame::lifecycle::{self, Lifecycle};
use crate::frame::metrics::{self, Metrics};
use crate::frame::panics::caught;
use crate::frame::problem::{Problem, in_place_of};
use crate::frame::server::{Traffic, Watch};
use crate::frame::settings::Entry;
use crate::frame::supervisor::{Status, Supervisor};
use crate::frame::telemetry::Filtering;
use crate::frame::watchdog::Pulse;

const UNAUTHORIZED: Problem = Problem::new(
    StatusCode::UNAUTHORIZED,
    "unauthorized",
    "The operator's token is needed here",
);

/// What the operator is shown, and can act on.
#[derive(Debug)]
pub struct Shown {
    pub lifecycle: Lifecycle,
    pub supervisor: Supervisor,
    pub pulse: Pulse,
    pub health: Health,
    pub metrics: Metrics,
    /// The service's listener, once there is one.
    pub http: watch::Receiver<Option<Watch>>,
    pub database: watch::Receiver<Option<Database>>,
    pub settings: Vec<Entry>,
    pub filtering: Filtering,
    /// What is asked for before any of it.
    pub token: Option<Token>,
}

impl Shown {
    /// All metrics, as they are just now.
    #[must_use]
    pub fn metrics_page(&self) -> String {
        let http = self.http.borrow().as_ref().map(Watch::numbers);
        let database = self.database.borrow().as_ref().map(Database::numbers);
        self.metrics.text(&metrics::Snapshot {
            lifecycle: self.lifecycle.state(),
            http,
            database,
            tasks: self.supervisor.statuses(),
            checks: self.health.checked(),
            stalls: self.pulse.stalls(),
            stalled_for: self.pulse.stalled_for(),
            lag: self.pulse.lag(),
            refused: self.token.as_ref().map_or(0, Token::refused),
        })
    }
}

/// The operator's routes.
pub fn routes(shown: Arc<Shown>) -> Router {
    let probes = shown.health.routes();
    Router::new()
        .route("/metrics", get(metrics))
        .route("/api/state", get(state))
        .route("/api/stop", post(stop))
        .route("/api/tasks/{name}/{order}", post(order))
        .route(
            "/api/log-filter",
            get(log_filter::show).put(log_filter::change),
        )
        .with_state(Arc::clone(&shown))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(middleware::from_fn_with_state(shown, guard))
        .merge(probes)
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
        .layer(middleware::from_fn(|request, next: Next| {
            named(TIME_LIMIT, next.run(request))
        }))
}

#[derive(Serialize)]
struct Snapshot<'a> {
    service: &'static str,
    version: &'static str,
    #[serde(flatten)]
    lifecycle: lifecycle::State,
    http: Option<Traffic>,
    database: Option<BTreeMap<&'static str, Numbers>>,
    stalls: u64,
    stalled_ms: Option<u128>,
    tasks: Vec<Status>,
    settings: &'a [Entry],
}

async fn state(State(shown): State<Arc<Shown>>) -> Response {
    let http = shown.http.borrow().as_ref().map(Watch::numbers);
    let database = shown.database.borrow().as_ref().map(Database::numbers);
    let stalled = shown.pulse.stalled_for();
    Json(Snapshot {
        service: env!("CARGO_PKG_NAME"),
        version: VERSION,
        lifecycle: shown.lifecycle.state(),
        http,
        database,
        stalls: shown.pulse.stalls(),
        stalled_ms: stalled.map(|time| time.as_millis()),
        tasks: shown.supervisor.statuses(),
        settings: &shown.settings,
    })
    .into_response()
}

async fn metrics(State(shown): State<Arc<Shown>>) -> impl IntoResponse {
    let page = shown.metrics_page();
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page)
}

/// Begins an orderly stop.
async fn stop(State(shown): State<Arc<Shown>>) -> StatusCode {
    shown.lifecycle.ask_to_stop();
    StatusCode::ACCEPTED
}

/// Takes an order for a task, which carries it out as soon as it can.
async fn order(
    State(shown): State<Arc<Shown>>,
    Path((name, order)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let done = match order.as_str() {
        "pause" => shown.supervisor.pause(&name),
        "resume" => shown.supervisor.resume(&name),
        "restart" => shown.supervisor.restart(&name),
        _ => return Err(Problem::NOT_FOUND),
    };
    done.map(|()| StatusCode::ACCEPTED)
        .map_err(|_| Problem::NOT_FOUND)
}

/// The most that an operator has to say, and how long that may take, in bytes and in time.
const BODY_LIMIT: usize = 16 * 1024;
const TIME_LIMIT: Duration = Duration::from_secs(10);

async fn guard(State(shown): State<Arc<Shown>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).cloned();
    let admitted = match &shown.token {
        _ if says_no_two_hosts(&request).is_err() => Err(Problem::BAD_REQUEST),
        Some(token) if !token.is_in(given.as_ref()).await => {
            let how = HeaderValue::from_static("Bearer");
            Err(UNAUTHORIZED.and_header(header::WWW_AUTHENTICATE, how))
        }
        // A name can be made to lead here by whoever has it: their pages would then come from here.
        None if !is_for_this_machine(&request) => Err(Problem::MISDIRECTED),
        _ if *request.method() != Method::GET && is_foreign(&request) => Err(Problem::CROSS_ORIGIN),
        _ => Ok(()),
    };
    if let Err(problem) = admitted {
        return problem.into_response();
    }
    match timeout(TIME_LIMIT, caught(next.run(request))).await {
        Ok(Ok(response)) => in_place_of(response),
        Ok(Err(_)) => Problem::INTERNAL.into_response(),
        // Nothing here takes long but to hear what is wanted.
        Err(_) => Problem::TOO_SLOW.into_response(),
    }
}

/// Whether the machine is asked by a name that is always its own. Whatever is no browser need not say.
fn is_for_this_machine(request: &Request) -> bool {
    let hosts = request.headers().get_all(header::HOST);
    hosts.iter().all(|host| {
        let host = Authority::try_from(host.as_bytes()).ok();
        host.is_some_and(|host| {
            let name = host.host().trim_start_matches('[').trim_end_matches(']');
            let address = name.parse().map(|address: IpAddr| address.is_loopback());
            address.unwrap_or_else(|_| name.eq_ignore_ascii_case("localhost"))
        })
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn without_a_token_only_this_machine_is_meant() {
        for (host, is_it) in [
            ("localhost:9090", true),
            ("LOCALHOST", true),
            ("127.0.0.1:9090", true),
            ("127.1.2.3", true),
            ("[::1]:9090", true),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.0.2.1:9090", false),
            ("", false),
        ] {
            let request = Request::builder().header(header::HOST, host);
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(is_for_this_machine(&request), is_it, "{host}");
        }
        let nobody = Request::new(Body::empty());
        assert!(is_for_this_machine(&nobody));
    }
}
