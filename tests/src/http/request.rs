//! A builder for requests.

use http_body_util::Full;
use hyper::{
    Method,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;

/// `Request::post("/monitors").json(&monitor)`. Panics on a name, path or value that HTTP does not
/// allow: a test sends malformed requests in a [`Conversation`](super::Conversation).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request(pub(super) hyper::Request<Full<Bytes>>);

impl Request {
    pub fn get(path: &str) -> Request {
        Request::new(Method::GET, path)
    }

    pub fn post(path: &str) -> Request {
        Request::new(Method::POST, path)
    }

    pub fn put(path: &str) -> Request {
        Request::new(Method::PUT, path)
    }

    fn new(method: Method, path: &str) -> Request {
        let request = hyper::Request::builder().method(method).uri(path);
        Request(request.body(Full::default()).expect("a path"))
    }

    /// Adds a header. Earlier headers of the same name stay.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the name of a header");
        let value = HeaderValue::from_str(value).expect("the value of a header");
        self.0.headers_mut().append(name, value);
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Request {
        *self.0.body_mut() = Full::new(body.into());
        self
    }

    pub fn json(mut self, value: &impl Serialize) -> Request {
        let json = HeaderValue::from_static("application/json");
        self.0.headers_mut().insert(CONTENT_TYPE, json);
        self.body(serde_json::to_vec(value).expect("a value that JSON can write"))
    }
}
