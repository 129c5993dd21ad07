//! The probes, their responses, and the command `healthcheck`.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use url::form_urlencoded;

use super::Health;
use crate::Importance::{self, Required};
use crate::edge::with_id_and_host;
use crate::problem::Problem;
use crate::{lifecycle, supervisor};

impl Health {
    /// The routes `/livez`, `/readyz` and `/startupz`. Merge them with the routes of the service, outside of
    /// [`edge::protect`](crate::edge::protect), so that probes are answered while the service is overloaded.
    pub fn routes(&self) -> Router {
        let probe = |findings: fn(&Self) -> Vec<Finding>| {
            get(
                async move |State(health): State<Self>, RawQuery(query): RawQuery| {
                    respond(&findings(&health), query.as_deref())
                },
            )
        };
        Router::new()
            .route("/livez", probe(livez))
            .route("/readyz", probe(readyz))
            .route("/startupz", probe(startupz))
            .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
            .with_state(self.clone())
            // The deadline is now: a probe does not wait for anything.
            .layer(from_fn(|request, next| {
                with_id_and_host(Duration::ZERO, request, next)
            }))
    }
}

/// The result of one condition of a probe: a line of the response with `?verbose`.
struct Finding {
    /// `+` healthy, `!` degraded, `-` failed.
    sign: char,
    name: String,
    detail: String,
}

fn finding(
    name: impl Into<String>,
    importance: Importance,
    is_healthy: bool,
    detail: impl Into<String>,
) -> Finding {
    let sign = match importance {
        _ if is_healthy => '+',
        Importance::Degraded => '!',
        Importance::Required => '-',
    };
    let (name, detail) = (name.into(), detail.into());
    Finding { sign, name, detail }
}

fn livez(health: &Health) -> Vec<Finding> {
    let stalled = health.pulse.progress().stalled_for();
    let is_alive = stalled.is_none_or(|time| time < health.settings.stall);
    let detail = stalled.map_or("answers".to_owned(), |time| {
        format!("stalled for {}", seconds(time))
    });
    vec![finding("runtime", Required, is_alive, detail)]
}

fn readyz(health: &Health) -> Vec<Finding> {
    let state = health.lifecycle.state();
    let is_ready = state == lifecycle::State::Ready;
    let mut findings = vec![finding("lifecycle", Required, is_ready, state.name())];
    for task in health.supervisor.statuses() {
        let importance = match (task.critical, task.state) {
            (true, _) => Required,
            (false, supervisor::State::GaveUp) => Importance::Degraded,
            (false, _) => continue,
        };
        let is_healthy = task.state == supervisor::State::Running;
        let (name, state) = (format!("task.{}", task.name), task.state.name());
        findings.push(finding(name, importance, is_healthy, state));
    }
    findings.extend(health.checked().into_iter().map(|check| {
        let word = if check.passes { "passes" } else { "fails" };
        let detail = check.took.map_or_else(
            || format!("{word}, not checked yet"),
            |took| {
                let (age, took) = (seconds(check.age), took.as_millis());
                format!("{word}, checked {age} ago, took {took} ms")
            },
        );
        finding(check.name, check.importance, check.passes, detail)
    }));
    findings
}

fn startupz(health: &Health) -> Vec<Finding> {
    let step = *health.lifecycle.step.borrow();
    let detail = step.map_or("complete".to_owned(), |step| format!("waiting for {step}"));
    vec![finding("start", Required, step.is_none(), detail)]
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Responds with `ok`, or with the names that fail. With `?verbose`, a line for each finding comes first.
fn respond(findings: &[Finding], query: Option<&str>) -> Response {
    let failing = findings.iter().filter(|finding| finding.sign == '-');
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
    let lines = findings.iter();
    let lines = lines.map(|Finding { sign, name, detail }| format!("[{sign}] {name}: {detail}\n"));
    let lines: Vec<_> = lines.chain([summary + "\n"]).collect();
    (status, lines.concat()).into_response()
}

/// Requests a probe, such as `readyz`, from the operator's listener of a running service. Returns whether it passes.
#[expect(clippy::disallowed_methods, reason = "there is no runtime")]
pub(crate) fn query_probe(operator: SocketAddr, probe: &str) -> io::Result<bool> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let request = format!("GET /{probe} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let query = || {
        // A connection to 0.0.0.0 or [::] goes to this machine.
        let mut connection = TcpStream::connect_timeout(&operator, TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.write_all(request.as_bytes())?;
        let mut status = [0; b"HTTP/1.1 200".len()];
        connection.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    query().map_err(|error: io::Error| {
        io::Error::other(format!(
            "no answer from {operator} (operator.listen): {error}"
        ))
    })
}
