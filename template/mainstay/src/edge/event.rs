//! The `request` event and the metrics of a request: once for each, however it ends.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tracing::{Span, field};

use super::Http;
use crate::context::{RequestContext, Trace};
use crate::metrics::Recorder;
use crate::server::Exchange;
use crate::telemetry::{message, span};

const CLIENT_LEFT: u16 = 499;

/// The status in the log when the stop cut the connection, whatever the handler made of that.
const CUT: u16 = 503;

/// Logs and counts the request when it is dropped, so also when the client leaves before the answer.
pub(super) struct Event {
    started: Instant,
    method: Method,
    route: Option<MatchedPath>,
    log_client: bool,
    pub(super) span: Span,
    requests: Recorder,
    status: Option<StatusCode>,
    /// The lengths of the bodies of request and response, or zero where they are not known beforehand.
    bodies: [u64; 2],
}

impl Event {
    pub(super) fn begin(
        started: Instant,
        request: &Request,
        context: &RequestContext,
        requests: Recorder,
        http: &Http,
    ) -> Self {
        // A larger body is refused unread.
        let fits = |length: &u64| usize::try_from(*length).is_ok_and(|it| it <= http.body_limit.0);
        let request_length = request.body().size_hint().exact().filter(fits);
        let route = request.extensions().get::<MatchedPath>().cloned();
        if let Some(route) = &route {
            Exchange::look(|exchange| exchange.set_route(route.clone()));
        }
        let trace = context.trace.as_deref().filter(|trace| trace.is_sampled);
        // What exports the span reads the context. Only the filter `off` disables this level.
        let span_of = |trace: &Trace| {
            context.clone().sync_scope(|| {
                tracing::error_span!(
                    span::REQUEST,
                    method = request.method().as_str(),
                    route = name_of(route.as_ref()),
                    request_id = context.id.as_str(),
                    trace_id = trace.id,
                    status = field::Empty,
                    error = field::Empty,
                )
            })
        };
        let span = trace.map_or_else(Span::none, span_of);
        requests.begin();
        Self {
            started,
            method: request.method().clone(),
            span,
            route,
            log_client: http.log_client,
            requests,
            status: None,
            bodies: [request_length.unwrap_or(0), 0],
        }
    }

    pub(super) fn answered(&mut self, status: StatusCode, length: Option<u64>) {
        self.status = Some(status);
        // The answer to HEAD is sent without its body.
        let length = length.filter(|_| self.method != Method::HEAD);
        self.bodies[1] = length.unwrap_or(0);
    }
}

fn name_of(route: Option<&MatchedPath>) -> &str {
    route.map_or("unmatched", MatchedPath::as_str)
}

/// The text of an IPv4 address. Its `Display` costs as much as all other fields of the event.
fn text_of(address: Ipv4Addr, buffer: &mut [u8; 15]) -> &str {
    let mut end = 0;
    for octet in address.octets() {
        if end > 0 {
            buffer[end] = b'.';
            end += 1;
        }
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(octet).as_bytes();
        buffer[end..end + digits.len()].copy_from_slice(digits);
        end += digits.len();
    }
    str::from_utf8(&buffer[..end]).unwrap_or_default()
}

impl Drop for Event {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let status = match self.status {
            Some(status) if status.is_success() => status.as_u16(),
            _ if Exchange::look(Exchange::is_cut) == Some(true) => CUT,
            Some(status) => status.as_u16(),
            None => CLIENT_LEFT,
        };
        let route = name_of(self.route.as_ref());
        self.requests
            .end(&self.method, route, status, took, self.bodies);
        match self.status {
            None => _ = self.span.record("error", "client_left"),
            Some(answer) => {
                self.span.record("status", status);
                if answer.is_server_error() {
                    self.span.record("error", answer.as_str());
                }
            }
        }
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        // The future of the request is dropped in the scope of its context.
        RequestContext::with(|context| {
            let mut buffer = [0; 15];
            let client = match context.client.filter(|_| self.log_client) {
                Some(IpAddr::V4(address)) => Some(Cow::Borrowed(text_of(address, &mut buffer))),
                Some(IpAddr::V6(address)) => Some(Cow::Owned(address.to_string())),
                None => None,
            };
            tracing::info!(
                message = message::REQUEST,
                method = self.method.as_str(),
                route,
                status,
                duration_ms = f64::from(micros) / 1e3,
                request_id = context.id.as_str(),
                client = client.as_deref(),
                trace_id = context.trace.as_ref().map(|trace| &*trace.id),
            );
        });
    }
}
