//! A builder for requests.

use std::{net::SocketAddr, time::Duration};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;

use super::PATIENCE;

/// `Request::post("/monitors").json(&monitor)`. Panics on a name, path or value that HTTP does not
/// allow: a test sends malformed requests in a [`Conversation`](super::Conversation).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    pub(super) limit: Duration,
}

impl Request {
    pub fn new(method: Method, path: &str) -> Request {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Request {
            method,
            path: path.to_owned(),
            headers,
            body,
            limit: PATIENCE,
        }
    }

    pub fn get(path: &str) -> Request {
        Request::new(Method::GET, path)
    }

    pub fn post(path: &str) -> Request {
        Request::new(Method::POST, path)
    }

    pub fn put(path: &str) -> Request {
        Request::new(Method::PUT, path)
    }

    pub fn delete(path: &str) -> Request {
        Request::new(Method::DELETE, path)
    }

    /// Adds a header. Earlier headers of the same name stay.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
        self.headers.append(
            name,
            HeaderValue::from_str(value).expect("the value of a header"),
        );
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        self.body = body.into();
        self
    }

    pub fn json(mut self, value: &impl Serialize) -> Request {
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.body(serde_json::to_vec(value).expect("a value that JSON can write"))
    }

    /// Sets the timeout of the whole exchange, instead of thirty seconds.
    pub fn within(mut self, limit: Duration) -> Request {
        self.limit = limit;
        self
    }

    pub(super) fn describe(&self, address: SocketAddr) -> String {
        format!("{} {} at {address}", self.method, self.path)
    }

    /// `origin` is the part before the path: empty on HTTP/1, scheme and authority on HTTP/2.
    pub(super) fn into_hyper(self, origin: &str) -> hyper::Request<Full<Bytes>> {
        let mut request = hyper::Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = format!("{origin}{}", self.path).parse().expect("a path");
        *request.headers_mut() = self.headers;
        request
    }
}
