//! The middleware between a listener and the handlers.
//!
//! - Every request has an id, which its answer carries in `x-request-id`.
//! - The head of the answer comes within `http.request_timeout`, also if the handler panics.
//! - Every request logs exactly one `request` event, without the query.
//! - Errors that no handler made (404, 405, a body that is too large) are [`Problem`]s as well.
//! - Hosts, origins, sizes and the number of requests are checked before a handler runs.
//! - A body is in memory before the request takes a concurrency permit, so that slow clients keep no other requests from
//!   being served. Routes that [stream their bodies](protect_with_streams) take the permit first.

mod admission;
mod event;
mod headers;
mod origin;
mod peers;
mod settings;

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware, routing};
use futures_util::FutureExt;
use tokio::time::{Instant, timeout};
use tower::layer::layer_fn;
use tower::{Service, service_fn};
use tracing::Instrument;

use crate::context::RequestContext;
use crate::metrics::Recorder;
use crate::panics::caught;
use crate::problem::{Problem, into_problem_response};
use admission::Admission;
use event::Event;

pub(crate) use origin::{check_host, is_foreign};
pub use settings::Http;

/// The longest path and query that a request may have, in bytes.
const LONGEST_URI: usize = 8 * 1024;

/// Wraps the routes of a service in the middleware, which records requests in `requests`.
pub fn protect(routes: Router, http: &Http, requests: Recorder) -> Router {
    protect_with_streams(routes, Router::new(), http, requests)
}

/// Like [`protect`], with further routes whose handlers read the body as a stream, in `streams`. They take their
/// concurrency permit before the body arrives, so a slow client holds a permit. Their bodies have the same limit, but
/// may not be compressed. Panics if a route is in both, as [`Router::merge`] does.
pub fn protect_with_streams(
    routes: Router,
    streams: Router,
    http: &Http,
    requests: Recorder,
) -> Router {
    let admission = Arc::new(Admission::new(http));
    // A single layer: each costs a request two allocations.
    let layer = |streams_body| {
        let admission = Arc::clone(&admission);
        layer_fn(move |route| {
            let edge = Arc::new(Edge {
                route,
                streams_body,
                admission: Arc::clone(&admission),
                requests,
            });
            service_fn(move |request| handle(Arc::clone(&edge), request))
        })
    };
    routes
        .fallback(|| async { Problem::NOT_FOUND })
        .layer(layer(false))
        .merge(streams.layer(layer(true)))
}

/// A route, and what surrounds it.
struct Edge {
    route: routing::Route,
    streams_body: bool,
    admission: Arc<Admission>,
    requests: Recorder,
}

/// Handles one request. Not an `async fn`: that would hold the request twice, and each copy of it costs time.
fn handle(edge: Arc<Edge>, request: Request) -> impl Future<Output = Result<Response, Infallible>> {
    let started = Instant::now();
    let http = &edge.admission.http;
    let context = peers::context(&request, started, http);
    // Logs and counts the request when it is dropped.
    let mut event = Event::begin(started, &request, &context, edge.requests, http);
    let reader = http.reader(&request);
    let span = event.span.clone();
    let answer = caught(Arc::clone(&edge).answer(request, reader.is_some(), context.deadline));
    let finished = answer.instrument(span).map(move |answer| {
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => {
                if problem.code == Problem::OVERLOADED.code {
                    edge.requests.shed();
                }
                problem.into_response()
            }
            Err(_logged) => Problem::INTERNAL.into_response(),
        };
        edge.admission.http.share(reader, response.headers_mut());
        let length = headers::put_on(&mut response);
        event.answered(response.status(), length);
        Ok(response)
    });
    context.scope(finished)
}

impl Edge {
    /// Checks a request and runs its handler. The cheapest checks come first.
    #[expect(clippy::manual_async_fn, reason = "that would hold the request twice")]
    fn answer(
        self: Arc<Self>,
        mut request: Request,
        may_read: bool,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response, Problem>> {
        async move {
            let admission = &self.admission;
            let http = &admission.http;
            check_host(&request, &http.hosts)?;
            let uri = request.uri().path_and_query();
            if uri.is_some_and(|uri| uri.as_str().len() > LONGEST_URI) {
                return Err(Problem::URI_TOO_LONG);
            }
            if let Some(response) = http.preflight(&request) {
                return Ok(response);
            }
            if !may_read && http.refuses(&request) {
                return Err(Problem::CROSS_ORIGIN);
            }
            let _permit = if request.body().is_end_stream() {
                admission.acquire(deadline).await?
            } else if self.streams_body {
                admission.limit_stream(&mut request)?;
                admission.acquire(deadline).await?
            } else {
                // Boxed, so that requests without a body are not larger because of it.
                Box::pin(admission.read_body(&mut request, deadline)).await?
            };
            let work = pin!(self.route.clone().call(request));
            let Some(Ok(response)) = in_time(work).await else {
                return Err(Problem::TIMEOUT);
            };
            if response.status().as_u16() < 400 {
                return Ok(response);
            }
            Ok(into_problem_response(response))
        }
    }
}

/// `None` if the work does not end by the deadline of the request.
async fn in_time<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    // Most requests are answered at once, and need no timer.
    if let Some(done) = work.as_mut().now_or_never() {
        return Some(done);
    }
    let left = RequestContext::time_left().unwrap_or_default();
    Box::pin(timeout(left, work)).await.ok()
}

/// The middleware of the probes and of the operator's routes: a host, an id, a deadline and the security headers.
pub(crate) async fn with_id_and_host(
    time: Duration,
    request: Request,
    next: middleware::Next,
) -> Response {
    let answer = async {
        let mut response = match check_host::<&str>(&request, &[]) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        };
        headers::put_on(&mut response);
        response
    };
    let context = RequestContext::until(Instant::now() + time);
    context.scope(answer).await
}

#[cfg(test)]
mod tests;
