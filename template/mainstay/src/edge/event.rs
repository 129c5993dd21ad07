//! The `request` event and the metrics of a request: once for each, however it ends.

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use http_body::Body;
use tokio::time::Instant;
use tracing::Span;

use super::address::Address;
use super::{Http, trace};
use crate::context::{Context, Trace};
use crate::metrics::http::{Ended, InFlight, Recorder};
use crate::server::Exchange;
use crate::telemetry::message;

/// Told when it is dropped, so that a client that has left before the answer does not leave without
/// one.
pub(super) struct Event {
    started: Instant,
    method: Method,
    route: Option<MatchedPath>,
    /// Whether it is told who has sent it.
    tells_client: bool,
    /// Around whatever is done for it.
    span: Span,
    in_flight: InFlight,
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
        let route = request.extensions().get::<MatchedPath>().cloned();
        if let Some(route) = &route {
            Exchange::look(|exchange| exchange.routed(route.clone()));
        }
        let span = trace::span(request, name_of(route.as_ref()), context);
        Self {
            started,
            method: request.method().clone(),
            route,
            span,
            tells_client: http.log_client,
            in_flight: requests.begin(),
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
            _ if Exchange::look(Exchange::is_cut) == Some(true) => CUT,
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
        // It ends where it has begun: with the request at hand.
        Context::with(|context| {
            let client = context.client.filter(|_| self.tells_client);
            let client = client.map(Address::of);
            tracing::info!(
                message = message::REQUEST,
                method = self.method.as_str(),
                route = name_of(self.route.as_ref()),
                status,
                duration_ms = f64::from(micros) / 1e3,
                request_id = context.id.as_ref(),
                client = client.as_ref().map(Address::as_str),
                trace_id = context.trace.as_deref().map(Trace::id),
            );
        });
    }
}
