//! Answers a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use futures_util::{FutureExt, StreamExt};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::connection::Connection;

tokio::task_local! {
    static CURRENT: Exchange;
}

/// The current request. An extension of the request would cost an allocation.
#[derive(Clone)]
pub(crate) struct Exchange {
    connection: Arc<Connection>,
    id: u64,
}

impl Exchange {
    /// Calls `at` with the current request. `None` if it came over no listener.
    pub(crate) fn look<T>(at: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(at).ok()
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    /// Names the request in the log of a stop that waits for it.
    pub(crate) fn set_route(&self, route: MatchedPath) {
        self.connection
            .update_request(self.id, |request| request.route = Some(route));
    }

    /// Whether the deadline of a drain has ended the request.
    pub(crate) fn is_cut(&self) -> bool {
        self.connection.registry.is_cut.load(Relaxed)
    }
}

/// Not an `async fn`, which holds the request twice.
pub(super) fn answer(
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
    let version = request.version();
    let exchange = Exchange {
        connection: Arc::clone(connection),
        id: connection.begin_request(version == Version::HTTP_2),
    };
    let mut in_flight = InFlight {
        exchange: exchange.clone(),
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
    let response = CURRENT.scope(exchange, routes.call(request));
    response.map(move |Ok(mut response)| {
        in_flight.is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let registry = &in_flight.exchange.connection.registry;
        let is_http1 = version < Version::HTTP_2 && !in_flight.is_upgraded;
        if is_http1 && registry.is_closing.load(Relaxed) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        // Most responses have a known length: no need to look at their headers.
        if response.body().size_hint().exact().is_none()
            && let Some(kind) = response.headers().get(header::CONTENT_TYPE)
            && kind.as_bytes().starts_with(b"text/event-stream")
        {
            let end = registry.draining.clone().cancelled_owned();
            response = response.map(|it| Body::from_stream(it.into_data_stream().take_until(end)));
        }
        // An HTTP/2 client may have no room for the first frame. Over HTTP/1, the socket shows that.
        if version == Version::HTTP_2 {
            in_flight.set_unread(true);
        }
        Ok(response.map(|body| Answer { body, in_flight }))
    })
}

/// The request is in flight until this is dropped.
struct InFlight {
    exchange: Exchange,
    /// The connection now belongs to this request, until its socket is closed.
    is_upgraded: bool,
}

impl InFlight {
    fn set_unread(&self, is_unread: bool) {
        let Exchange { connection, id } = &self.exchange;
        connection.update_request(*id, |it| it.unread = is_unread.then_some(0));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_upgraded {
            self.exchange.connection.end_request(self.exchange.id);
        }
    }
}

pub(super) struct Answer {
    body: Body,
    in_flight: InFlight,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        // hyper asks for a frame when the client has taken the one before it.
        if frame.is_pending() || !self.body.is_end_stream() {
            self.in_flight.set_unread(frame.is_ready());
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
    /// Completes when the listener begins to drain. Connections that are open at the deadline are closed by force.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

impl<S: Sync> FromRequestParts<S> for Drain {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let draining = Exchange::look(|exchange| exchange.connection.registry.draining.clone());
        // A request that came over no listener, as in a test, is never drained.
        Ok(Self(draining.unwrap_or_default()))
    }
}
