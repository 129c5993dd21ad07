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
use super::stream::Following;

/// What the routes work with.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    pub(super) feed: Feed,
    /// For so many streams at once.
    pub(super) places: Arc<Semaphore>,
}

pub(super) fn routes(followed: Followed) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(follow))
        .with_state(followed)
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

const TOO_MANY_STREAMS: Problem = Problem::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "too_many_streams",
    "As many follow as can; try again later",
);

/// A place is free when somebody leaves, which is not every second.
const COME_BACK: HeaderValue = HeaderValue::from_static("10");

#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only what is said of it counts")]
struct LastEventIdHeader {
    /// The `id` of the last event that was seen: those after it come first. Without it, events come from now on;
    /// with `0`, from the oldest that is kept.
    #[param(
        rename = "last-event-id",
        value_type = String,
        required = false,
        pattern = "^[0-9]{1,18}$"
    )]
    last: Option<String>,
}

/// The last change that whoever asks has seen.
struct Seen(Option<i64>);

impl<S: Sync> FromRequestParts<S> for Seen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(LAST_EVENT_ID).iter();
        let Some(value) = given.next() else {
            return Ok(Self(None));
        };
        if given.next().is_some() {
            return Err(wrong("is a duplicate"));
        }
        let is_number = |text: &&str| {
            (1..=18).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let number = value.to_str().ok().filter(is_number);
        let number = number.and_then(|number| number.parse().ok());
        let words = "is no `id` of an event: those have 1 to 18 digits";
        number.map(|id| Self(Some(id))).ok_or_else(|| wrong(words))
    }
}

fn wrong(words: &'static str) -> Problem {
    Problem::BAD_REQUEST.with([Fault::in_header(LAST_EVENT_ID.as_str(), words)])
}

/// Follows the changes of all targets
///
/// A stream of server-sent events that does not end by itself. `up` and `down` have the `id` of the change
/// and, as JSON, `target_id`, `is_up`, `at` and, where it is down, the `reason`, as checks have it. `missed` has no
/// `id`; it says that the `count` of changes `after` that `id` are left out: they came more quickly than they were
/// read, or are not kept any more. Changes of a target that has been removed since then are told as well.
#[utoipa::path(get, path = "/events", operation_id = "follow_changes", tag = "changes",
    params(LastEventIdHeader),
    responses(
        (status = OK, description = "The events, as they come", body = String,
            content_type = "text/event-stream"),
        (status = SERVICE_UNAVAILABLE, description = "`too_many_streams`: as many follow as can."),
    ))]
async fn follow(
    State(followed): State<Followed>,
    Seen(seen): Seen,
) -> Result<impl IntoResponse, Problem> {
    let place = Arc::clone(&followed.places).try_acquire_owned();
    let too_many = |_| TOO_MANY_STREAMS.with_header(header::RETRY_AFTER, COME_BACK);
    let place = place.map_err(too_many)?;
    let feed = &followed.feed;
    // It may have been seen in another process, which knows more than this one.
    if let Some(seen) = seen
        && seen > feed.changes.newest().await?
    {
        let words = "is of no event yet; leave it out to be told what comes from now on";
        return Err(wrong(words));
    }
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        // For nginx, which would else wait until there is more of it.
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    let frames = Following::new(feed, seen, place).frames();
    Ok((headers, Body::from_stream(frames)))
}
