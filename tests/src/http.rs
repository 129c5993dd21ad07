//! HTTP clients for tests: well-behaved ones, and one that sends arbitrary bytes.
//!
//! - [`get`] and [`send`]: one request on its own connection.
//! - [`Http1`] and [`Http2`]: a connection that is kept, for many requests.
//! - [`Conversation`]: raw bytes on a socket, for requests that an HTTP library refuses to send.
//!
//! Every call has a timeout. Every [`Failure`] names the request and its [`Kind`], since a test of
//! a shutdown must distinguish a refused connection from a broken one.

use std::{
    error::Error,
    fmt::{self, Display},
    io,
    net::SocketAddr,
    time::Duration,
};

use hyper::{HeaderMap, body::Bytes};
use serde_json::Value;
use tokio::time::timeout;

pub use self::{
    connection::{Http1, Http2},
    raw::{Conversation, Farewell},
    request::Request,
};

mod connection;
mod raw;
mod request;

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Clone, Debug)]
pub struct Failure {
    pub kind: Kind,
    what: String,
    cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No process listens at this address.
    Refused,
    /// The peer closed the connection in good order, but before the response was complete.
    Closed,
    /// The peer reset the connection.
    Reset,
    Late,
    /// Invalid HTTP, or a stream that was reset within a healthy connection.
    Broken,
}

/// `GET path`, on its own connection.
pub async fn get(address: SocketAddr, path: &str) -> Result<Answer, Failure> {
    send(address, Request::get(path)).await
}

/// One request, on its own HTTP/1.1 connection.
pub async fn send(address: SocketAddr, request: Request) -> Result<Answer, Failure> {
    Http1::connect(address).await?.send(request).await
}

impl Answer {
    /// The value of a header; `None` if it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("not text: {self}"))
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self}"))
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        write!(f, "\n{}", excerpt(&self.body))
    }
}

impl Failure {
    fn new(kind: Kind, what: impl Display, cause: impl Display) -> Failure {
        Failure {
            kind,
            what: what.to_string(),
            cause: cause.to_string(),
        }
    }

    /// Takes the kind from the innermost cause that has one.
    fn caused(what: impl Display, error: &(dyn Error + 'static)) -> Failure {
        let causes = || std::iter::successors(Some(error), |error| (*error).source());
        let kind = causes().filter_map(kind).last().unwrap_or(Kind::Broken);
        let words: Vec<String> = causes().map(ToString::to_string).collect();
        Failure::new(kind, what, words.join(": "))
    }
}

fn kind(error: &(dyn Error + 'static)) -> Option<Kind> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Kind::Refused),
            io::ErrorKind::UnexpectedEof => Some(Kind::Closed),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Some(Kind::Reset),
            io::ErrorKind::TimedOut => Some(Kind::Late),
            _ => None,
        };
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    let closed = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    closed.then_some(Kind::Closed)
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.what, self.kind, self.cause)
    }
}

impl Error for Failure {}

async fn bounded<T>(
    limit: Duration,
    what: &str,
    action: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = |_| Failure::new(Kind::Late, what, format!("nothing within {limit:?}"));
    timeout(limit, action).await.map_err(late)?
}

/// The same for an action with another error.
async fn attempt<T, E: Error + 'static>(
    limit: Duration,
    what: &str,
    action: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    let action = async { action.await.map_err(|error| Failure::caused(what, &error)) };
    bounded(limit, what, action).await
}

/// The start of some bytes, for a failure message.
fn excerpt(bytes: &[u8]) -> String {
    const ENOUGH: usize = 1000;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(ENOUGH)]);
    match bytes.len().checked_sub(ENOUGH) {
        None | Some(0) => text.into_owned(),
        Some(more) => format!("{text}… and {more} bytes more"),
    }
}
