//! The `request` event, and what is counted of a request: once for each, whatever becomes of it.

use std::net::IpAddr;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use http_body::Body;
use tokio::time::Instant;
use tracing::Span;

use super::{Http, trace};
use crate::frame::context::{Context, RequestId, Trace};
use crate::frame::metrics::http::{Ended, InFlight, Recorder};
use crate::frame::server::Exchange;
use crate::frame::telemetry::message;

/// Told when it is dropped, so that a client that has left before the answer does not leave without
/// one.
pub(super) struct Event {
    started: Instant,
    method: Method,
    route: Option<MatchedPath>,
    id: RequestId,
    trace: Option<Trace>,
    /// Who has sent it, if that is to be told.
    client: Option<IpAddr>,
    /// Around whatever is done for it.
    span: Span,
    in_flight: InFlight,
    exchange: Option<Exchange>,
    /// What it was answered with, once that is known.
    status: Option<StatusCode>,
    /// The lengths of the request's body and of the answer's, where they are known.
    bodies: [Option<u64>; 2],
}

impl Event {
    pub(super) fn begun(
        started: Instant,
        request: &Request,
        context: &Context,
        requests: Recorder,
        http: &Http,
    ) -> Self {
        // What is larger will not be read, and may never have been meant.
        let length = request.body().size_hint().exact();
        let fits = |length: &u64| usize::try_from(*length).is_ok_and(|it| it <= http.body_limit.0);
        let length = length.filter(fits);
        let extensions = request.extensions();
        let route = extensions.get::<MatchedPath>().cloned();
        let exchange = extensions.get::<Exchange>().cloned();
        if let (Some(exchange), Some(route)) = (&exchange, &route) {
            exchange.routed(route.clone());
        }
        let span = trace::span(request, name_of(route.as_ref()), context);
        Self {
            started,
            method: request.method().clone(),
            route,
            span,
            id: context.id.clone(),
            trace: context.trace,
            client: context.client.filter(|_| http.log_client),
            in_flight: requests.begin(),
            exchange,
            status: None,
            bodies: [length, None],
        }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn answered(&mut self, response: &Response) {
        self.status = Some(response.status());
        // To this method, the body is not sent.
        if self.method != Method::HEAD {
            self.bodies[1] = response.body().size_hint().exact();
        }
    }
}

/// A route by its template, so that there are no more names than routes.
fn name_of(route: Option<&MatchedPath>) -> &str {
    route.map_or("unmatched", MatchedPath::as_str)
}

/// What a request is logged with whose client did not wait for the answer. Nobody receives it.
const CLIENT_LEFT: u16 = 499;

/// … and with that the stop has cut, whatever its handler has made of that. Nor does anybody receive it.
const CUT: u16 = 503;

impl Drop for Event {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let status = match self.status {
            Some(status) if status.is_success() => status.as_u16(),
            _ if self.exchange.as_ref().is_some_and(Exchange::is_cut) => CUT,
            Some(status) => status.as_u16(),
            None => CLIENT_LEFT,
        };
        self.in_flight.ended(&Ended {
            method: &self.method,
            route,
            status,
            took,
            bodies: self.bodies,
        });
        match self.status {
            _ if self.span.is_disabled() => {}
            None => _ = self.span.record("error", "client_left"),
            Some(answer) => {
                self.span.record("status", status);
                if answer.is_server_error() {
                    self.span.record("error", answer.as_str());
                }
            }
        }
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        tracing::info!(
            message = message::REQUEST,
            method = self.method.as_str(),
            route = name_of(self.route.as_ref()),
            status,
            duration_ms = f64::from(micros) / 1e3,
            request_id = self.id.as_ref(),
            client = self.client.map(tracing::field::display),
            trace_id = self.trace.as_ref().map(Trace::id),
        );
    }
}
