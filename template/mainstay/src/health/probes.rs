//! The routes of the probes, and their answers.

use std::fmt::Write;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use url::form_urlencoded;

use super::{Finding, Health, Verdict};
use crate::edge::beside;
use crate::problem::Problem;

impl Health {
    /// The routes `/livez`, `/readyz` and `/startupz`. Merge them with the routes of the service, outside of
    /// [`edge::protect`](crate::edge::protect): a probe is answered also when the service is overloaded.
    pub fn routes(&self) -> Router {
        let probe = |look: fn(&Self) -> Vec<Finding>| {
            get(
                async move |State(health): State<Self>, RawQuery(query): RawQuery| {
                    answer(look(&health), &Asked::of(query.as_deref()))
                },
            )
        };
        Router::new()
            .route("/livez", probe(Self::alive))
            .route("/readyz", probe(Self::ready))
            .route("/startupz", probe(Self::started))
            .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED })
            .with_state(self.clone())
            // A probe waits for nothing.
            .layer(from_fn(|request, next| {
                beside(Duration::ZERO, request, next)
            }))
    }
}

/// What a probe was asked besides.
struct Asked {
    verbose: bool,
    exclude: Vec<String>,
}

impl Asked {
    fn of(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let mut asked = Self {
            verbose: false,
            exclude: Vec::new(),
        };
        for (key, value) in pairs {
            match &*key {
                "verbose" => asked.verbose = true,
                "exclude" => asked.exclude.push(value.into_owned()),
                _ => {}
            }
        }
        asked
    }
}

fn answer(findings: Vec<Finding>, asked: &Asked) -> Response {
    let (excluded, looked_at): (Vec<_>, Vec<_>) = findings
        .into_iter()
        .partition(|finding| asked.exclude.contains(&finding.name));
    let failing: Vec<_> = looked_at
        .iter()
        .filter(|finding| finding.state == Verdict::Bad)
        .map(|finding| finding.name.as_str())
        .collect();
    let (status, words) = if failing.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let failing = failing.join(", ");
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("failing: {failing}"),
        )
    };
    let body = if asked.verbose {
        verbose(&looked_at, &excluded, asked, &words)
    } else {
        words
    };
    (status, body).into_response()
}

/// One line a finding, and the outcome last.
fn verbose(looked_at: &[Finding], excluded: &[Finding], asked: &Asked, words: &str) -> String {
    let mut lines = String::new();
    // Writing to a string does not fail.
    for finding in looked_at {
        let sign = match finding.state {
            Verdict::Good => '+',
            Verdict::Tolerated => '!',
            Verdict::Bad => '-',
        };
        _ = writeln!(lines, "[{sign}] {}: {}", finding.name, finding.words);
    }
    for finding in excluded {
        _ = writeln!(lines, "[ ] {}: excluded", finding.name);
    }
    for name in &asked.exclude {
        if !excluded.iter().any(|finding| finding.name == *name) {
            _ = writeln!(lines, "warning: there is no check {name:?} to exclude");
        }
    }
    lines + words + "\n"
}
