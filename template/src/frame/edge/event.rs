//! The `request` event: one for each request, whatever becomes of it.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};

use crate::frame::context::{Context, RequestId, Trace};
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
    /// What it was answered with, once that is known.
    pub(super) status: Option<StatusCode>,
}

impl Event {
    pub(super) fn begun(request: &Request, context: &Context) -> Self {
        let extensions = request.extensions();
        let route = extensions.get::<MatchedPath>().cloned();
        if let (Some(exchange), Some(route)) = (extensions.get::<Exchange>(), &route) {
            exchange.routed(route.clone());
        }
        Self {
            started: Instant::now(),
            method: request.method().clone(),
            route,
            id: context.id.clone(),
            trace: context.trace,
            status: None,
        }
    }
}

/// What a request is logged with whose client did not wait for the answer. Nobody receives it.
const CLIENT_LEFT: u16 = 499;

impl Drop for Event {
    fn drop(&mut self) {
        let micros = u32::try_from(self.started.elapsed().as_micros()).unwrap_or(u32::MAX);
        tracing::info!(
            message = message::REQUEST,
            method = self.method.as_str(),
            route = self.route.as_ref().map_or("unmatched", MatchedPath::as_str),
            status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16()),
            duration_ms = f64::from(micros) / 1e3,
            request_id = %self.id,
            trace_id = self.trace.as_ref().map(Trace::id),
        );
    }
}
