//! What a target is, and what it may be.

use garde::Validate;
use mainstay::precondition::Tag;
use mainstay::problem::{Fault, Problem};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

use super::settings::Bounds;
use crate::moment::Moment;
use crate::web::of_the_web;

/// A URL that is watched.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(super) struct Target {
    #[schema(example = 1)]
    pub(super) id: i64,
    /// As it is asked for: without what stands behind a `#`, and with a path.
    #[schema(format = "uri", example = "https://example.org/")]
    pub(super) url: String,
    /// What people call it.
    #[schema(example = "The front page")]
    pub(super) name: Option<String>,
    /// How often it is checked.
    #[schema(example = 60)]
    pub(super) interval_seconds: i64,
    /// How long a check waits for an answer.
    #[schema(example = 10)]
    pub(super) timeout_seconds: i64,
    /// Whether it is checked at all.
    pub(super) enabled: bool,
    pub(super) created_at: Moment,
    /// The last change.
    pub(super) updated_at: Moment,
    /// One more with every change. `ETag` has it.
    #[schema(example = 1)]
    pub(super) version: i64,
}

impl Target {
    pub(super) fn tag(&self) -> Tag {
        Tag::of_version(self.version)
    }
}

/// A target as it is to be. What is not given is as usual.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct WantedTarget {
    /// It begins with `http://` or `https://`, and has no user or password in it.
    #[garde(custom(|url, &()| of_the_web(url).map(drop).map_err(garde::Error::new)))]
    #[schema(
        max_length = 2048,
        format = "uri",
        pattern = "^https?://[^/?#@]+([/?#].*)?$",
        example = "https://example.org/"
    )]
    url: String,
    /// What people call it: one line.
    #[garde(inner(length(chars, min = 1, max = 100), custom(|name, &()| of_one_line(name))))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*$",
        example = "The front page"
    )]
    name: Option<String>,
    /// How often it is checked.
    #[garde(skip)]
    interval_seconds: Option<i64>,
    /// How long a check waits for an answer: not longer than the interval.
    #[garde(skip)]
    timeout_seconds: Option<i64>,
    /// Whether it is checked at all.
    #[garde(skip)]
    #[schema(default = true)]
    enabled: Option<bool>,
}

/// What can be stored of a target.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) url: String,
    pub(super) name: Option<String>,
    pub(super) interval_seconds: i64,
    pub(super) timeout_seconds: i64,
    pub(super) enabled: bool,
}

impl WantedTarget {
    /// The same with what is usual filled in, if the settings allow it.
    pub(super) fn within(self, bounds: &Bounds) -> Result<Content, Problem> {
        let [shortest, longest] = bounds.intervals;
        let interval = self.interval_seconds.unwrap_or(bounds.usual_interval);
        let usual_timeout = bounds.usual_timeout.min(interval);
        let timeout = self.timeout_seconds.unwrap_or(usual_timeout);
        let mut faults = Vec::new();
        if !(shortest..=longest).contains(&interval) {
            let words = format!("is {interval}, and must be from {shortest} to {longest}");
            faults.push(Fault::in_body("/interval_seconds", words));
        } else if !(1..=interval).contains(&timeout) {
            let words = format!("is {timeout}, and must be from 1 to the interval, {interval}");
            faults.push(Fault::in_body("/timeout_seconds", words));
        }
        let url = of_the_web(&self.url);
        if let Err(words) = url {
            faults.push(Fault::in_body("/url", words));
        }
        match url {
            Ok(url) if faults.is_empty() => Ok(Content {
                url: url.into(),
                name: self.name,
                interval_seconds: interval,
                timeout_seconds: timeout,
                enabled: self.enabled.unwrap_or(true),
            }),
            _ => Err(Problem::INVALID.with(faults)),
        }
    }
}

fn of_one_line(name: &str) -> garde::Result {
    let is_one = !name.contains(char::is_control);
    let words = "has a character that cannot be seen";
    is_one.then_some(()).ok_or_else(|| garde::Error::new(words))
}
