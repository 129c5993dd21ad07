//! The one way out: every request that this service sends to others goes through [`Outgoing`].
//!
//! - It ends in time: by its caller's limit, and by the deadline of the request that it is sent for.
//! - It goes to public addresses only, whatever name, notation or redirect leads elsewhere, unless
//!   `monitor.allow_private` says otherwise. No proxy from the environment is asked.
//! - Nobody can make it follow redirects for ever, or keep more of an answer than
//!   `monitor.answer_limit`.
//! - It uses a connection again, and keeps `monitor.idle_connections` of them for each host.
//! - What goes wrong is one of a few kinds ([`Failure`]), and some of them may pass.
//!
//! How many requests there are at once, in all and for each host, is for those to say who send them.

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
use mainstay::context::Context;
use mainstay::settings::{ByteSize, at_least};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use connect::{Connector, Judge, Resolve, System, connector};

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

/// Who we are.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!(
    env!("CARGO_PKG_NAME"),
    "/",
    env!("CARGO_PKG_VERSION")
));

/// How long a connection is kept that nobody uses: shorter than most servers keep it.
const IDLE: Duration = Duration::from_secs(20);

/// A client for HTTP/1.1. All clones have their connections together.
#[derive(Clone)]
pub(super) struct Outgoing {
    client: Client<Connector, Body>,
    settings: Settings,
}

impl Outgoing {
    pub(super) fn new(settings: &Settings) -> Self {
        let allows: Judge = if settings.allow_private {
            |_| true
        } else {
            address::is_public
        };
        Self::with(settings, Arc::new(System), allows)
    }

    fn with(settings: &Settings, resolver: Arc<dyn Resolve>, allows: Judge) -> Self {
        Self {
            // Each connection has a task that ends with it, and at the latest with the client.
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(settings.idle_connections)
                .build(connector(resolver, allows, settings.connect_timeout)),
            settings: settings.clone(),
        }
    }

    /// Asks for this, and for what it redirects to. There is no more time for all of it, the body
    /// included, than `within`, nor than whoever waits for it has.
    pub(super) async fn get(&self, url: &Url, within: Duration) -> Result<Answer, Failure> {
        let left = Context::time_left().unwrap_or(Duration::MAX);
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

/// What may stand before an `@` is not sent: it would be in the log of whoever is between.
fn request(url: &Url) -> Result<Request<Body>, Failure> {
    let rest = &url[Position::BeforeHost..Position::AfterQuery];
    let mut request = Request::get([url.scheme(), "://", rest].concat())
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, value) in Context::trace_headers() {
        request = request.header(name, value);
    }
    let request = request.body(Body::empty());
    request.map_err(|error| Failure::Protocol(error.to_string()))
}

/// Where it leads to, if it leads on.
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
    let nowhere = || Failure::Protocol("it redirects to what is no URL of the web".to_owned());
    next.map(Some).ok_or_else(nowhere)
}

/// An answer, of which the body has not been read yet.
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

    /// The body. Of one that is too large nothing is read beyond the limit, and its connection is closed.
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
