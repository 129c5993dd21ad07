//! The routes of the probes, and their responses.

use std::fmt::Write;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use url::form_urlencoded;

use super::{Finding, Health};
use crate::edge::with_id_and_host;
use crate::problem::Problem;

impl Health {
    /// The routes `/livez`, `/readyz` and `/startupz`. Merge them with the routes of the service, outside of
    /// [`edge::protect`](crate::edge::protect): a probe is answered also when the service is overloaded.
    pub fn routes(&self) -> Router {
        let probe = |findings: fn(&Self) -> Vec<Finding>| {
            get(
                async move |State(health): State<Self>, RawQuery(query): RawQuery| {
                    respond(&findings(&health), query.as_deref())
                },
            )
        };
        Router::new()
            .route("/livez", probe(Self::livez))
            .route("/readyz", probe(Self::readyz))
            .route("/startupz", probe(Self::startupz))
            .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
            .with_state(self.clone())
            // A probe waits for nothing.
            .layer(from_fn(|request, next| {
                with_id_and_host(Duration::ZERO, request, next)
            }))
    }
}

/// `ok`, or the names that fail. With `?verbose`, a line for each finding comes first.
fn respond(findings: &[Finding], query: Option<&str>) -> Response {
    let failing = findings.iter().filter(|finding| finding.fails());
    let failing: Vec<_> = failing.map(|finding| finding.name.as_str()).collect();
    let (status, summary) = if failing.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let summary = format!("failing: {}", failing.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, summary)
    };
    let mut query = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    if !query.any(|(key, _)| key == "verbose") {
        return (status, summary).into_response();
    }
    let mut body = String::new();
    for finding in findings {
        let sign = match (finding.is_healthy, finding.fails()) {
            (true, _) => '+',
            (false, false) => '!',
            (false, true) => '-',
        };
        // Writing to a string does not fail.
        _ = writeln!(body, "[{sign}] {}: {}", finding.name, finding.detail);
    }
    (status, body + &summary + "\n").into_response()
}
