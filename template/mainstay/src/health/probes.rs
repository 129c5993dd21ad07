//! The routes of the probes, their responses, and the command `healthcheck`.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
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

/// Whether the service with this operator's listener passes a probe, such as `readyz`.
pub(crate) fn ask(operator: SocketAddr, probe: &str) -> io::Result<bool> {
    let status = status(operator, probe).map_err(|error| {
        let message = format!("no answer from {operator} (operator.listen): {error}");
        io::Error::new(error.kind(), message)
    })?;
    Ok(status.ends_with(b" 200"))
}

/// The beginning of the response, such as `HTTP/1.1 200`.
#[expect(
    clippy::disallowed_methods,
    reason = "the command runs without a runtime"
)]
fn status(operator: SocketAddr, probe: &str) -> io::Result<[u8; 12]> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    // To connect to 0.0.0.0 or [::] is to connect to this machine.
    let mut connection = TcpStream::connect_timeout(&operator, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /{probe} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut status = [0; 12];
    connection.read_exact(&mut status)?;
    Ok(status)
}
