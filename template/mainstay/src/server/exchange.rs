//! Answers a request. The connection counts it as in flight until the response is written.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use futures_util::FutureExt;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use super::connection::{Connection, Exchange};

/// Answers one request. Not an `async fn`, which holds the request twice.
pub(super) fn answer(
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
    let version = request.version();
    let exchange = connection.begin_request(version == Version::HTTP_2);
    let in_flight = InFlight {
        connection: Arc::clone(connection),
        request: Arc::clone(&exchange),
        is_upgraded: false,
    };
    // An empty body needs no allocation.
    let request = request.map(|body| {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(body)
        }
    });
    let mut routes = connection.registry.routes.clone();
    let response = exchange.around(routes.call(request));
    response.map(move |Ok(response)| Ok(prepare(response, version, in_flight)))
}

/// Ties the response to its connection and to the drain.
fn prepare(
    mut response: Response<Body>,
    version: Version,
    mut in_flight: InFlight,
) -> Response<Answer> {
    in_flight.is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let registry = &in_flight.connection.registry;
    let is_http1 = version < Version::HTTP_2 && !in_flight.is_upgraded;
    if is_http1 && registry.is_closing.load(Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    let ending = is_event_stream(&response);
    let ending = ending.then(|| Box::pin(registry.draining.clone().cancelled_owned()));
    // An HTTP/2 client may have no room for the first frame. Over HTTP/1, the socket shows that.
    if version == Version::HTTP_2 {
        in_flight.set_waits_for_client(true);
    }
    response.map(|body| Answer {
        body,
        ending,
        in_flight,
    })
}

/// Whether the response ends only when the client leaves.
fn is_event_stream(response: &Response<Body>) -> bool {
    // Most responses have a known length: no need to look at their headers.
    if response.body().size_hint().exact().is_some() {
        return false;
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The request is in flight until this is dropped.
struct InFlight {
    connection: Arc<Connection>,
    request: Arc<Exchange>,
    /// The connection now belongs to this request, until its socket is closed.
    is_upgraded: bool,
}

impl InFlight {
    /// Sets whether the response waits for the client to read.
    fn set_waits_for_client(&self, waits: bool) {
        let now = self.connection.registry.now();
        let since = if waits { now } else { 0 };
        self.request.unread.store(since, Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_upgraded {
            self.connection.end_request(&self.request);
        }
    }
}

/// The body of a response. The drain ends an event stream, which has no end of its own.
pub(super) struct Answer {
    body: Body,
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    in_flight: InFlight,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(ending) = &mut self.ending
            && ending.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // hyper asks for a frame when the client has taken the one before it.
        if frame.is_pending() || !self.body.is_end_stream() {
            self.in_flight.set_waits_for_client(frame.is_ready());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Notifies a long-running handler that its listener drains: an extractor.
///
/// An event stream does not need it: the listener ends it. The handler of a WebSocket should close it with the
/// code 1001 when [`Drain::begun`] completes.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// Completes when the listener begins to drain. Connections that are open at the deadline of the drain are
    /// closed by force.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

impl<S: Sync> FromRequestParts<S> for Drain {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let connection = Exchange::look(|exchange| exchange.connection.upgrade()).flatten();
        // A request that came over no listener, as in a test, is never drained.
        Ok(connection.map_or_else(Self::default, |it| Self(it.registry.draining.clone())))
    }
}
