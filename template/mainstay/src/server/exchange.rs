//! One request and its answer. The connection knows of it while either is under way.

use std::convert::Infallible;
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use axum::routing::future::RouteFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

use super::connection::Connection;

/// Answers one request, and keeps the connection informed.
pub(super) fn answer(
    routes: &Router,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Answering {
    let version = request.version();
    let uploads = !request.body().is_end_stream();
    let under_way = UnderWay {
        id: connection.begun(version == Version::HTTP_2, uploads),
        connection: Some(Arc::clone(connection)),
        unread: None,
    };
    // Most requests have no body, and an empty one is had for nothing.
    let request = request.map(|body| {
        if uploads {
            Body::new(body)
        } else {
            Body::empty()
        }
    });
    let exchange = Exchange {
        id: under_way.id,
        connection: Arc::downgrade(connection),
        peer: connection.peer,
    };
    Answering {
        response: exchange.around(routes.clone().call(request)),
        under_way,
        version,
    }
}

pin_project! {
    /// The answer to come. Not an `async fn`, in which the request has a place for each stage that it
    /// goes through: all of that is moved about with every request.
    pub(super) struct Answering {
        #[pin]
        response: TaskLocalFuture<Exchange, RouteFuture<Infallible>>,
        under_way: UnderWay,
        version: Version,
    }
}

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(mut response) = ready!(this.response.poll(context));
        let mut under_way = mem::take(this.under_way);
        let mut ending = None;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // From here on, the whole connection is this exchange: it ends with its socket.
            under_way.connection = None;
        } else if let Some(connection) = &under_way.connection {
            let listener = &connection.listener;
            if listener.is_closing() && *this.version < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            if is_event_stream(&response) {
                ending = Some(Box::pin(listener.draining().clone().cancelled_owned()));
                connection.answers_without_end();
            }
        }
        // It may be long before a client of HTTP/2 has room for the first frame. Over HTTP/1, only a
        // socket that takes nothing delays that, and that is known.
        if *this.version == Version::HTTP_2 {
            under_way.waits_for_client(true);
        }
        Poll::Ready(Ok(response.map(|body| Answer {
            body,
            ending,
            under_way,
        })))
    }
}

fn is_event_stream(response: &Response<Body>) -> bool {
    // Whatever has a length has an end of its own.
    if response.body().size_hint().exact().is_some() {
        return false;
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

tokio::task_local! {
    static CURRENT: Exchange;
}

/// A request that the listener knows of, as it is known to whatever answers it in the request's own
/// task: among the request's extensions, it would cost every request an allocation.
pub(crate) struct Exchange {
    connection: Weak<Connection>,
    id: u64,
    peer: SocketAddr,
}

impl Exchange {
    /// The one at hand, to be looked at. `None` for a request that came over no listener.
    pub(crate) fn look<T>(at: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(at).ok()
    }

    /// Runs this for the request.
    pub(crate) fn around<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    /// By what name the request is called when the stop has to wait for it.
    pub(crate) fn routed(&self, route: MatchedPath) {
        if let Some(connection) = self.connection.upgrade() {
            connection.routed(self.id, route);
        }
    }

    /// Whether it was ended by us, at the deadline of a drain.
    #[must_use]
    pub(crate) fn is_cut(&self) -> bool {
        let connection = self.connection.upgrade();
        connection.is_some_and(|connection| connection.listener.is_cut())
    }

    /// Of no connection.
    #[cfg(test)]
    pub(crate) fn with(peer: SocketAddr) -> Self {
        Self {
            connection: Weak::new(),
            id: 0,
            peer,
        }
    }

    /// The other end of the connection.
    #[must_use]
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The exchange is in flight until this is dropped: with the answer, or with the client.
#[derive(Default)]
struct UnderWay {
    connection: Option<Arc<Connection>>,
    id: u64,
    /// What the connection knows: the tick since which the client has been waited for.
    unread: Option<u32>,
}

impl UnderWay {
    /// From now on, it is the client who is waited for; or, else, the answer's maker.
    fn waits_for_client(&mut self, waits: bool) {
        let Some(connection) = &self.connection else {
            return;
        };
        let unread = waits.then(|| connection.listener.now());
        if self.unread != unread {
            self.unread = unread;
            connection.unread_since(self.id, unread);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.ended(self.id);
        }
    }
}

/// The body of an answer. An event stream, which has no end of its own, ends when the drain begins.
pub(super) struct Answer {
    body: Body,
    ending: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    under_way: UnderWay,
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
        // A frame is asked for when the one before it has been taken. After the last one, nothing is:
        // the exchange ends.
        if frame.is_pending() || !self.body.is_end_stream() {
            self.under_way.waits_for_client(frame.is_ready());
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

/// Tells a long-running handler that its listener drains: an extractor.
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
        // A request that came over no listener, as in a test, is never drained.
        let connection = Exchange::look(|exchange| exchange.connection.upgrade()).flatten();
        Ok(connection.map_or_else(Self::default, |connection| {
            Self(connection.listener.draining().clone())
        }))
    }
}
