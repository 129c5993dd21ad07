//! The middleware between a listener and the handlers.
//!
//! - Every request has an id, which its answer carries in `x-request-id`.
//! - The head of the answer comes within `http.request_timeout`, also if the handler panics.
//! - Every request logs exactly one `request` event, with the template of its route, and never the query.
//! - Errors that no handler made (404, 405, a body that is too large) are [`Problem`]s as well.
//! - Hosts, origins, sizes and the number of requests are checked before a handler runs.
//! - A body is in memory before the request takes a concurrency permit. So clients that send slowly do not keep other
//!   requests from being served, however many they are. Routes that [stream their bodies](protect_with_streams) take
//!   the permit first.
//!
//! To read the code, start with `handle`.

mod admission;
mod body;
mod event;
mod headers;
mod host;
mod origin;
mod peers;
mod settings;

use std::convert::Infallible;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderName;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};
use tower::layer::layer_fn;
use tower::{Service, service_fn};
use tracing::Instrument;

use crate::context::{RequestContext, RequestId, Trace};
use crate::header_names::REQUEST_ID;
use crate::metrics::http::Recorder;
use crate::panics::caught;
use crate::problem::{Problem, into_problem_response};
use admission::Admission;
use event::Event;

pub(crate) use origin::is_foreign;
pub use settings::Http;

/// The longest path and query that a request may have, in bytes.
const LONGEST_URI: usize = 8 * 1024;

/// Wraps the routes of a service in the middleware, which records requests in `requests`.
pub fn protect(routes: Router, http: &Http, requests: Recorder) -> Router {
    protect_with_streams(routes, Router::new(), http, requests)
}

/// Like [`protect`], with further routes whose handlers read the body as a stream, in `streams`. They take their
/// concurrency permit before the body arrives, so a slow client holds a permit. Their bodies have the same limit, but
/// may not be compressed.
///
/// # Panics
///
/// If a route is in both, as [`Router::merge`] does.
pub fn protect_with_streams(
    routes: Router,
    streams: Router,
    http: &Http,
    requests: Recorder,
) -> Router {
    let edge = Arc::new(Edge {
        admission: Admission::new(&http.overload),
        bodies: body::budget(http.overload.max_in_flight, http.body_limit.0),
        requests,
        http: http.clone(),
    });
    // A single layer: each costs a request two allocations.
    let layer = |streams_body| {
        let edge = Arc::clone(&edge);
        layer_fn(move |route| {
            let guarded = Arc::new(Guarded {
                edge: Arc::clone(&edge),
                route,
                streams_body,
            });
            service_fn(move |request| handle(Arc::clone(&guarded), request))
        })
    };
    routes
        .fallback(|| async { Problem::NOT_FOUND })
        .layer(layer(false))
        .merge(streams.layer(layer(true)))
}

#[derive(Debug)]
struct Edge {
    admission: Admission,
    bodies: Semaphore,
    requests: Recorder,
    http: Http,
}

/// A route behind the edge.
struct Guarded {
    edge: Arc<Edge>,
    route: Route,
    streams_body: bool,
}

/// Handles one request, from its head to the head of its answer.
///
/// Not an `async fn`: that would hold the request twice, and each copy of it costs time.
fn handle(
    guarded: Arc<Guarded>,
    request: Request,
) -> impl Future<Output = Result<Response, Infallible>> {
    let started = Instant::now();
    let Edge { http, requests, .. } = &*guarded.edge;
    let context = guarded.edge.context(&request, started);
    // Logs and counts the request when it is dropped.
    let mut event = Event::begin(started, &request, &context, *requests, http);
    let reader = http.origins.reader(&request).cloned();
    let span = event.span.clone();
    // A panic ends only this request.
    let answer = caught(Arc::clone(&guarded).answer(request, reader.is_some(), context.deadline));
    let finished = answer.instrument(span).map(move |answer| {
        let Edge { http, requests, .. } = &*guarded.edge;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => {
                if problem.code == Problem::OVERLOADED.code {
                    requests.shed();
                }
                problem.into_response()
            }
            Err(_logged) => Problem::INTERNAL.into_response(),
        };
        http.origins.share(reader, response.headers_mut());
        headers::put_on(&mut response);
        event.answered(&response);
        Ok(response)
    });
    context.scope(finished)
}

impl Guarded {
    /// Checks a request and runs its handler. The cheapest checks come first.
    #[expect(clippy::manual_async_fn, reason = "that would hold the request twice")]
    fn answer(
        self: Arc<Self>,
        mut request: Request,
        may_read: bool,
        deadline: Instant,
    ) -> impl Future<Output = Result<Response, Problem>> {
        async move {
            let Edge {
                http, admission, ..
            } = &*self.edge;
            host::check(&request, &http.hosts)?;
            let uri = request.uri().path_and_query();
            if uri.is_some_and(|uri| uri.as_str().len() > LONGEST_URI) {
                return Err(Problem::URI_TOO_LONG);
            }
            if let Some(response) = http.origins.preflight(&request) {
                return Ok(response);
            }
            if !may_read && http.origins.refuse(&request) {
                return Err(Problem::CROSS_ORIGIN);
            }
            let _permit = if request.body().is_end_stream() {
                admission.acquire(deadline).await?
            } else if self.streams_body {
                body::limit_stream(&mut request, http.body_limit.0)?;
                admission.acquire(deadline).await?
            } else {
                // Boxed, since most requests have no body, and should not be larger because of it.
                Box::pin(self.edge.read_body(&mut request, deadline)).await?
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

impl Edge {
    fn context(&self, request: &Request, started: Instant) -> RequestContext {
        let (headers, http) = (request.headers(), &self.http);
        let (client, is_trusted) = peers::of(headers, &http.trusted_proxies).unzip();
        let is_trusted = is_trusted.unwrap_or(false);
        // Only trusted proxies may set these headers.
        let trusted = |name: &HeaderName| is_trusted.then(|| headers.get(name)).flatten();
        let id = trusted(&REQUEST_ID).and_then(RequestId::given);
        let timeout = http.timeout_header.as_ref();
        let timeout = timeout.and_then(|header| peers::timeout(trusted(&header.0)?));
        let timeout = timeout.unwrap_or(Duration::MAX);
        let trace = Trace::of(headers, is_trusted, http.trace_ratio);
        RequestContext {
            id: id.unwrap_or_else(RequestId::next),
            trace: trace.map(Arc::new),
            client,
            deadline: started + http.request_timeout.min(timeout),
        }
    }

    /// Reads the body, and then takes a permit.
    async fn read_body(
        &self,
        request: &mut Request,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Problem> {
        let limit = self.http.body_limit.0;
        let is_gzip = body::take_gzip(request.headers_mut(), cfg!(feature = "gzip"))?;
        let body = mem::take(request.body_mut());
        let read = pin!(body::read(body, limit, &self.bodies));
        let read = in_time(read).await.ok_or(Problem::TOO_SLOW);
        let (mut bytes, _charge) = read??;
        let permit = self.admission.acquire(deadline).await?;
        if is_gzip {
            // Decompression is work, so it needs the permit.
            let plain = body::read(body::decompressed(bytes), limit, &self.bodies).await?;
            bytes = plain.0;
        }
        *request.body_mut() = Body::from(bytes);
        DefaultBodyLimit::disable().apply(request);
        Ok(permit)
    }
}

/// The result of the work, or `None` if it does not end by the deadline of the request.
async fn in_time<T>(mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    // Most requests are answered at once, and need no timer.
    if let Some(done) = work.as_mut().now_or_never() {
        return Some(done);
    }
    let left = RequestContext::time_left().unwrap_or_default();
    Box::pin(timeout(left, work)).await.ok()
}

/// The middleware of the routes beside the edge, which are the probes and those of the operator: a host, an id and the
/// security headers, for requests with this much time.
pub(crate) async fn with_id_and_host(time: Duration, request: Request, next: Next) -> Response {
    // The probes of the operator's listener come through here twice.
    if RequestId::current().is_some() {
        return next.run(request).await;
    }
    let answer = async {
        let mut response = match host::check(&request, &[]) {
            Ok(()) => next.run(request).await,
            Err(problem) => problem.into_response(),
        };
        headers::put_on(&mut response);
        response
    };
    RequestContext::until(Instant::now() + time)
        .scope(answer)
        .await
}

#[cfg(test)]
pub(super) mod tests;
