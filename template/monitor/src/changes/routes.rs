//! Changes over HTTP, as server-sent events.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use mainstay::problem::{Fault, Problem};
use tokio::sync::Semaphore;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::feed::Feed;
use super::stream::Subscription;

/// The state of the routes.
#[derive(Debug, Clone)]
pub(super) struct RouteState {
    pub(super) feed: Feed,
    /// Limits the number of streams.
    pub(super) permits: Arc<Semaphore>,
}

pub(super) fn routes(state: RouteState) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(follow))
        .with_state(state)
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const TOO_MANY_STREAMS: Problem = Problem::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "too_many_streams",
    "Too many streams; try again later",
);

/// A permit becomes free when a client leaves, which is rare.
const COME_BACK: HeaderValue = HeaderValue::from_static("10");

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used")]
struct LastEventIdHeader {
    /// The `id` of the last event that the client has seen. Later events are sent first. Without it, the
    /// stream begins now; with `0`, at the oldest stored event.
    #[param(
        rename = "last-event-id",
        value_type = String,
        required = false,
        pattern = "^[0-9]{1,18}$"
    )]
    last: Option<String>,
}

/// The id of the last event that the client has seen.
struct LastEventId(Option<i64>);

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(LAST_EVENT_ID).iter();
        let Some(value) = given.next() else {
            return Ok(Self(None));
        };
        if given.next().is_some() {
            return Err(malformed("is a duplicate"));
        }
        let is_number = |text: &&str| {
            (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let number = value.to_str().ok().filter(is_number);
        let number = number.and_then(|number| number.parse().ok());
        let words = "must be the `id` of an event, 1 to 18 digits";
        number
            .map(|id| Self(Some(id)))
            .ok_or_else(|| malformed(words))
    }
}

fn malformed(words: &'static str) -> Problem {
    Problem::BAD_REQUEST.with([Fault::in_header(LAST_EVENT_ID.as_str(), words)])
}

/// Follows the changes of all targets
///
/// A stream of server-sent events without an end. The events `up` and `down` have the `id` of the change and,
/// as JSON, `target_id`, `is_up`, `at` and, for `down`, the `reason` of the check. An event `missed` has no
/// `id`: the stream left out `count` changes `after` that id, because the client reads too slowly, or because
/// they are no longer stored. Changes of targets that were removed later are included.
#[utoipa::path(get, path = "/events", operation_id = "follow_changes", tag = "changes",
    params(LastEventIdHeader),
    responses(
        (status = OK, description = "The events", body = String,
            content_type = "text/event-stream"),
        (status = SERVICE_UNAVAILABLE, description = "`too_many_streams`: the limit of streams is reached."),
    ))]
async fn follow(
    State(state): State<RouteState>,
    LastEventId(seen): LastEventId,
) -> Result<impl IntoResponse, Problem> {
    let permit = Arc::clone(&state.permits).try_acquire_owned();
    let too_many = |_| TOO_MANY_STREAMS.with_header(header::RETRY_AFTER, COME_BACK);
    let permit = permit.map_err(too_many)?;
    let feed = &state.feed;
    // Another process may have sent the id, and be ahead of this one.
    if let Some(seen) = seen
        && seen > feed.changes.newest().await?
    {
        let words = "is not the `id` of a known event; leave it out to follow from now on";
        return Err(malformed(words));
    }
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        // nginx would buffer the stream otherwise.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    let frames = Subscription::new(feed, seen, permit).frames();
    Ok((headers, Body::from_stream(frames)))
}
