//! The common interface of hyper's two ways to serve a connection: HTTP/1 alone, or HTTP/1 and HTTP/2.

use std::error::Error;
use std::pin::Pin;

use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::server::conn::auto;

/// A way to speak HTTP over a connection.
pub(super) trait Conversation: Future<Output: Send> {
    /// No further request is wanted.
    fn finish(self: Pin<&mut Self>);
}

impl<I, S, B> Conversation for http1::UpgradeableConnection<I, S>
where
    Self: Future<Output: Send>,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, E, B> Conversation for auto::UpgradeableConnection<'_, I, S, E>
where
    Self: Future<Output: Send>,
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: Read + Write + Unpin + Send + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Http2ServerConnExec<S::Future, B>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
