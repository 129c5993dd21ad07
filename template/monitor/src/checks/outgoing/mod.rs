//! All outgoing requests of this service go through [`Outgoing`].
//!
//! - A request ends by its own time limit, and by the deadline of the request that it serves.
//! - It connects to public addresses only, whatever name, notation or redirect is used, unless
//!   `monitor.allow_private` is set. Proxies from the environment are ignored.
//! - The number of redirects is limited, and the body to `monitor.answer_limit`.
//! - Connections are reused; `monitor.idle_connections` of them are kept for each host.
//! - Errors have a few kinds ([`Failure`]), and some of them are transient.
//!
//! Callers limit the number of concurrent requests, in total and for each host.

mod address;
mod connect;
mod failure;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use garde::Validate;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use mainstay::context::RequestContext;
use mainstay::settings::{ByteSize, at_least};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use connect::{Connector, IsAllowed, Resolve, System, connector};

pub(super) use failure::Failure;

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Settings {
    pub(super) allow_private: bool,
    #[garde(custom(at_least("1ms")))]
    pub(super) connect_timeout: Duration,
    pub(super) max_redirects: u32,
    pub(super) answer_limit: ByteSize,
    pub(super) idle_connections: usize,
}

/// The `User-Agent` of all requests.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!(
    env!("CARGO_PKG_NAME"),
    "/",
    env!("CARGO_PKG_VERSION")
));

/// How long an idle connection is kept: shorter than most servers do.
const IDLE: Duration = Duration::from_secs(20);

/// A client for HTTP/1.1. Clones share their connections.
#[derive(Clone)]
pub(super) struct Outgoing {
    client: Client<Connector, Body>,
    settings: Settings,
}

impl Outgoing {
    pub(super) fn new(settings: &Settings) -> Self {
        let allows: IsAllowed = if settings.allow_private {
            |_| true
        } else {
            address::is_public
        };
        Self::with(settings, Arc::new(System), allows)
    }

    fn with(settings: &Settings, resolver: Arc<dyn Resolve>, allows: IsAllowed) -> Self {
        Self {
            // Each connection has a task that ends with it, at the latest with the client.
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(settings.idle_connections)
                .build(connector(resolver, allows, settings.connect_timeout)),
            settings: settings.clone(),
        }
    }

    /// Requests a URL and follows redirects. The whole exchange, the body included, ends after `within`, and
    /// by the deadline of the current request.
    pub(super) async fn get(&self, url: &Url, within: Duration) -> Result<Answer, Failure> {
        let left = RequestContext::time_left().unwrap_or(Duration::MAX);
        let deadline = Instant::now() + within.min(left);
        let mut url = url.clone();
        for _ in 0..=self.settings.max_redirects {
            let sent = self.client.request(request(&url)?);
            let answer = timeout_at(deadline, sent).await;
            let answer = answer.map_err(|_| Failure::Timeout)?;
            let answer = answer.map_err(|error| Failure::of_request(&error))?;
            match redirect(&url, &answer)? {
                Some(next) => url = next,
                None => {
                    return Ok(Answer {
                        response: answer,
                        deadline,
                        limit: self.settings.answer_limit.0,
                    });
                }
            }
        }
        Err(Failure::TooManyRedirects(self.settings.max_redirects))
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outgoing").field(&self.settings).finish()
    }
}

/// The request. Credentials in the URL are not sent, because proxies might log them.
fn request(url: &Url) -> Result<Request<Body>, Failure> {
    let rest = &url[Position::BeforeHost..Position::AfterQuery];
    let mut request = Request::get([url.scheme(), "://", rest].concat())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in RequestContext::trace_headers() {
        request = request.header(name, value);
    }
    let request = request.body(Body::empty());
    request.map_err(|error| Failure::Protocol(error.to_string()))
}

/// The target of a redirect, if the response is one.
fn redirect(from: &Url, answer: &Response<Incoming>) -> Result<Option<Url>, Failure> {
    let leads_on = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let Some(location) = answer.headers().get(header::LOCATION).filter(|_| leads_on) else {
        return Ok(None);
    };
    let next = str::from_utf8(location.as_bytes()).ok();
    let next = next.and_then(|next| from.join(next).ok());
    let next = next.filter(|next| matches!(next.scheme(), "http" | "https"));
    let nowhere = || Failure::Protocol("the redirect leads to no HTTP URL".to_owned());
    next.map(Some).ok_or_else(nowhere)
}

/// A response whose body is not read yet.
#[derive(Debug)]
pub(super) struct Answer {
    response: Response<Incoming>,
    deadline: Instant,
    limit: usize,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Reads the body. Beyond the limit nothing is read, and the connection is closed.
    pub(super) async fn read(self) -> Result<Bytes, Failure> {
        let body = self.response.into_body();
        let least = usize::try_from(body.size_hint().lower());
        if least.is_ok_and(|least| least <= self.limit) {
            let read = timeout_at(self.deadline, gather(body, self.limit)).await;
            return read.unwrap_or(Err(Failure::Timeout));
        }
        Err(Failure::TooLarge(self.limit))
    }
}

async fn gather(body: Incoming, limit: usize) -> Result<Bytes, Failure> {
    let mut body = std::pin::pin!(body);
    let mut gathered = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Failure::of_answer(&error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if gathered.len() + data.len() > limit {
            return Err(Failure::TooLarge(limit));
        }
        gathered.extend_from_slice(&data);
    }
    Ok(gathered.into())
}

#[cfg(test)]
pub(in crate::checks) mod tests;
