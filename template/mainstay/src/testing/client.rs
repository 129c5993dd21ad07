//! A small HTTP/1.1 client: each request has a connection of its own.

use std::error::Error;
use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, Request};
use axum::response::Response;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Answer {
    pub(crate) async fn read(response: Response) -> Result<Self, Box<dyn Error>> {
        let (head, body) = response.into_parts();
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8(to_bytes(body, usize::MAX).await?.into())?,
        })
    }

    /// The value of the first header of this name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}

/// `GET path`. Panics in async code, like the others: it has a runtime of its own.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

/// One request. A body is JSON.
#[track_caller]
pub fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    ask_with(address, method, path, &[], body)
}

/// One request with these headers. `host` and `content-type` (JSON, if there is a body) are added, unless they are
/// given.
#[track_caller]
pub fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Answer {
    let body = body.as_ref().to_vec();
    let host = address.to_string();
    let mut sent = vec![("host", &*host)];
    if !body.is_empty() {
        sent.push(("content-type", "application/json"));
    }
    sent.extend(headers);
    let request = Request::builder().method(method).uri(path);
    let mut request = request.body(Body::from(body)).expect("a request");
    for (name, value) in sent {
        let name: HeaderName = name.parse().expect("the name of a header");
        let value = value.parse().expect("the value of a header");
        request.headers_mut().insert(name, value);
    }
    let answer = exchange(address, request);
    answer.unwrap_or_else(|error| panic!("{method} {path} at {address}: {error}"))
}

#[tokio::main(flavor = "current_thread")]
async fn exchange(address: SocketAddr, request: Request<Body>) -> Result<Answer, Box<dyn Error>> {
    let answer = timeout(PATIENCE, async {
        let stream = TokioIo::new(TcpStream::connect(address).await?);
        let (mut sender, connection) = handshake(stream).await?;
        // Ends with the runtime.
        tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        Answer::read(response.map(Body::new)).await
    });
    answer.await?
}
