//! The middleware between a listener and the handlers.
//!
//! - Every request has an id, which its answer carries in `x-request-id`.
//! - The head of the answer comes within `http.request_timeout`, also if the handler panics.
//! - Every request logs exactly one `request` event, with the template of its route, and never the query.
//! - Errors that no handler made (404, 405, a body that is too large) are [`Problem`]s as well.
//! - Hosts, origins, sizes and the number of requests are checked before a handler runs.
//!
//! To read the code, start with `Edge::pass` and `Edge::admit`.

mod account;
mod address;
mod admission;
mod body;
mod deadline;
mod event;
mod headers;
mod host;
mod in_turns;
mod origin;
mod peers;
mod settings;
mod trace;
mod turn;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context as Polling, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::Route;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either};
use tokio::time::Instant;
use tower::layer::layer_fn;
use tower::{Layer, Service, service_fn};
use tower_http::cors::Cors;
use tracing::Instrument;

use crate::context::{Context, RequestId};
use crate::header_names::REQUEST_ID;
use crate::metrics::http::Recorder;
use crate::panics::caught;
use crate::problem::{self, Problem};
use admission::Admission;
use deadline::until;
use event::Event;
use turn::Turn;

pub(crate) use headers::named;
pub(crate) use host::reject_conflicting_hosts;
pub(crate) use origin::is_foreign;
pub use peers::Client;
pub use settings::Http;

/// The longest path and query that a request may have, in bytes.
const LONGEST_URI: usize = 8 * 1024;

/// Wraps the routes of a service in the middleware, which records requests in `requests`.
pub fn protect(routes: Router, http: &Http, requests: Recorder) -> Router {
    let edge = Arc::new(Edge {
        admission: Arc::new(Admission::new(http.overload.clone(), http.body_limit.0)),
        requests,
        http: http.clone(),
    });
    let layer = layer_fn(move |routes: Route| {
        let gate = Gate::to(Inside {
            edge: Arc::clone(&edge),
            routes,
        });
        let edge = Arc::clone(&edge);
        service_fn(move |request| edge.pass(request, gate.clone()))
    });
    let routes = routes
        .fallback(|| async { Problem::NOT_FOUND })
        .method_not_allowed_fallback(|| async { Problem::METHOD_NOT_ALLOWED });
    // One layer, since a request costs two allocations for each.
    routes.layer(layer)
}

#[derive(Debug)]
struct Edge {
    admission: Arc<Admission>,
    requests: Recorder,
    http: Http,
}

impl Edge {
    /// A request on its way in, and its answer on its way out.
    fn pass(&self, request: Request, gate: Gate) -> impl Future<Output = Passed> + use<> {
        let now = Instant::now();
        let context = self.context(&request, now);
        // Told and counted when this ends, however it does.
        let mut event = Event::begun(now, &request, &context, self.requests, &self.http);
        let id = context.id.clone();
        let answered = gate.answer(request).instrument(event.span());
        let passed = answered.map(move |mut response| {
            headers::put_on(&mut response, id);
            event.answered(&response);
            Ok(response)
        });
        // Whatever runs for the request can tell for which.
        context.scope(passed)
    }

    /// What is to be known of a request wherever it goes.
    fn context(&self, request: &Request, now: Instant) -> Context {
        let (headers, http) = (request.headers(), &self.http);
        let peer = peers::judge(request, &http.trusted_proxies);
        let is_trusted = peer.as_ref().is_some_and(|peer| peer.is_trusted);
        // What anybody can say is believed only of those in front of us.
        let believed = |name: &HeaderName| is_trusted.then(|| headers.get(name)).flatten();
        let given = believed(&REQUEST_ID).and_then(RequestId::given);
        let patience = http.timeout_header.as_ref();
        let patience = patience.and_then(|header| peers::patience(believed(&header.0)?));
        let patience = patience.unwrap_or(Duration::MAX);
        let trace = trace::of(headers, is_trusted, http.trace_ratio);
        Context {
            id: given.unwrap_or_else(RequestId::next),
            trace: trace.map(Arc::new),
            client: peer.map(|peer| peer.client),
            deadline: now + http.request_timeout.min(patience),
        }
    }

    /// What is refused before any handler has seen it comes first, and the cheapest of that.
    fn admit(
        self: Arc<Self>,
        mut request: Request,
        mut routes: Route,
    ) -> impl Future<Output = Result<Response, Problem>> {
        let asks_for_methods = request.method() == Method::OPTIONS;
        // Not an `async fn`, which would hold the request twice, and be moved about with both.
        async move {
            let http = &self.http;
            host::check(&request, &http.hosts)?;
            if length(request.uri()) > LONGEST_URI {
                return Err(Problem::URI_TOO_LONG);
            }
            if http.origins.refuse(&request) {
                return Err(Problem::CROSS_ORIGIN);
            }
            // Nobody who waits here has cost much.
            let place = self.admission.enter().await;
            let place = place.inspect_err(|_| self.requests.shed())?;
            let deadline = Context::with(|context| context.deadline);
            let deadline = deadline.unwrap_or_else(|| Instant::now() + http.request_timeout);
            if deadline <= Instant::now() {
                return Err(Problem::TIMEOUT);
            }
            // Most requests have no body, and keep their place until they are answered.
            let (receipt, _place) = if request.body().is_end_stream() {
                (None, Some(place))
            } else {
                let turn = Turn::with(place, &self.admission);
                let receipt = body::bound(&mut request, http.body_limit.0, turn)?;
                (Some(receipt), None)
            };
            let Some(Ok(response)) = until(deadline, routes.call(request)).await else {
                let is_awaited = receipt.is_some_and(|receipt| receipt.is_awaited());
                let problem = if is_awaited {
                    Problem::TOO_SLOW
                } else {
                    Problem::TIMEOUT
                };
                return Err(problem);
            };
            match receipt.and_then(|receipt| receipt.failure()) {
                // A handler that could not read the body may not know why.
                Some(problem) if !response.status().is_success() => {
                    if problem.code == Problem::OVERLOADED.code {
                        self.requests.shed();
                    }
                    Err(problem)
                }
                _ if asks_for_methods => Ok(options(response)),
                _ => Ok(response),
            }
        }
    }
}

/// Which methods there are is an answer, where that is the question.
fn options(mut response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let Some(methods) = response.headers_mut().remove(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, methods);
    }
    answer
}

fn length(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |it| it.as_str().len())
}

/// Whose pages may read what comes out: refusals as well, and what becomes of a panic.
#[derive(Clone)]
enum Gate {
    Own(Inside),
    Shared(Box<Cors<Inside>>),
}

impl Gate {
    fn to(inside: Inside) -> Self {
        match inside.edge.http.origins.layer() {
            Some(cors) => Self::Shared(Box::new(cors.layer(inside))),
            None => Self::Own(inside),
        }
    }

    fn answer(self, request: Request) -> impl Future<Output = Response> {
        match self {
            Self::Own(inside) => Either::Left(inside.answer(request)),
            // The layer takes this for what a browser asks before it asks, which only some of it is.
            Self::Shared(inside) if is_about_methods(&request) => {
                let answer = inside.into_inner().answer(request);
                Either::Right(Either::Left(answer.map(differs_by_origin)))
            }
            Self::Shared(mut inside) => {
                let answer = inside.call(request);
                Either::Right(Either::Right(answer.map(|Ok(response)| response)))
            }
        }
    }
}

/// Whether it is asked which methods there are, and not whether a page may use one.
fn is_about_methods(request: &Request) -> bool {
    let of_browser = [header::ORIGIN, header::ACCESS_CONTROL_REQUEST_METHOD];
    let asks_first = of_browser
        .iter()
        .all(|name| request.headers().contains_key(name));
    request.method() == Method::OPTIONS && !asks_first
}

/// What a cache has to know of everything, whoever has asked for it.
fn differs_by_origin(mut response: Response) -> Response {
    let origin = HeaderValue::from_static("origin");
    response.headers_mut().append(header::VARY, origin);
    response
}

/// Routes, and what stands before each of them.
#[derive(Clone)]
struct Inside {
    edge: Arc<Edge>,
    routes: Route,
}

impl Inside {
    fn answer(self, request: Request) -> impl Future<Output = Response> {
        let admitted = self.edge.admit(request, self.routes);
        let answered = admitted.map(|admitted| match admitted {
            // Whatever else has made an error, it is a problem.
            Ok(response) => problem::into_problem_response(response),
            Err(problem) => problem.into_response(),
        });
        // A panic ends this request, and nothing else; the log has it already.
        caught(answered)
            .map(|answered| answered.unwrap_or_else(|_| Problem::INTERNAL.into_response()))
    }
}

/// For CORS to stand in between.
impl Service<Request> for Inside {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Passed>;

    fn poll_ready(&mut self, _: &mut Polling<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().answer(request).map(Ok))
    }
}

type Passed = Result<Response, Infallible>;

#[cfg(test)]
pub(super) mod tests;
