//! A target and its rules.

use garde::Validate;
use mainstay::precondition::Tag;
use mainstay::problem::{Fault, Problem};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

use super::settings::Bounds;
use crate::timestamp::Timestamp;
use crate::web::parse_http_url;

/// A URL that is watched.
#[derive(Debug, Clone, Serialize, FromRow, ToSchema)]
pub(super) struct Target {
    #[schema(example = 1)]
    pub(super) id: i64,
    /// The normalized URL: without a fragment, and with a path.
    #[schema(format = "uri", example = "https://example.org/")]
    pub(super) url: String,
    /// A name for people.
    #[schema(example = "The front page")]
    pub(super) name: Option<String>,
    /// The interval between two checks.
    #[schema(example = 60)]
    pub(super) interval_seconds: i64,
    /// The timeout of a check.
    #[schema(example = 10)]
    pub(super) timeout_seconds: i64,
    /// Whether the target is checked.
    pub(super) enabled: bool,
    pub(super) created_at: Timestamp,
    /// The time of the last change.
    pub(super) updated_at: Timestamp,
    /// Increases with every change. It is also the `ETag`.
    #[schema(example = 1)]
    pub(super) version: i64,
}

impl Target {
    pub(super) fn tag(&self) -> Tag {
        Tag::of_version(self.version)
    }
}

/// The desired content of a target. A field that is left out gets its default.
#[derive(Debug, Deserialize, Validate, ToSchema)]
pub(super) struct WantedTarget {
    /// Begins with `http://` or `https://`, without user and password.
    #[garde(custom(|url, &()| parse_http_url(url).map(drop).map_err(garde::Error::new)))]
    #[schema(
        max_length = 2048,
        format = "uri",
        pattern = "^https?://[^/?#@]+([/?#].*)?$",
        example = "https://example.org/"
    )]
    url: String,
    /// A name for people, in one line.
    #[garde(inner(length(chars, min = 1, max = 100), custom(|name, &()| single_line(name))))]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*$",
        example = "The front page"
    )]
    name: Option<String>,
    /// The interval between two checks.
    #[garde(skip)]
    interval_seconds: Option<i64>,
    /// The timeout of a check, at most the interval.
    #[garde(skip)]
    timeout_seconds: Option<i64>,
    /// Whether the target is checked.
    #[garde(skip)]
    #[schema(default = true)]
    enabled: Option<bool>,
}

/// The content of a target, as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) url: String,
    pub(super) name: Option<String>,
    pub(super) interval_seconds: i64,
    pub(super) timeout_seconds: i64,
    pub(super) enabled: bool,
}

impl WantedTarget {
    /// Fills in the defaults, and checks the limits of the settings.
    pub(super) fn within(self, bounds: &Bounds) -> Result<Content, Problem> {
        let [shortest, longest] = bounds.intervals;
        let interval = self.interval_seconds.unwrap_or(bounds.default_interval);
        let default_timeout = bounds.default_timeout.min(interval);
        let timeout = self.timeout_seconds.unwrap_or(default_timeout);
        let mut faults = Vec::new();
        if !(shortest..=longest).contains(&interval) {
            let words = format!("is {interval}, and must be from {shortest} to {longest}");
            faults.push(Fault::in_body("/interval_seconds", words));
        } else if !(1..=interval).contains(&timeout) {
            let words = format!("is {timeout}, and must be from 1 to the interval, {interval}");
            faults.push(Fault::in_body("/timeout_seconds", words));
        }
        let url = parse_http_url(&self.url);
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

fn single_line(name: &str) -> garde::Result {
    let is_one = !name.contains(char::is_control);
    let words = "must not contain control characters";
    is_one.then_some(()).ok_or_else(|| garde::Error::new(words))
}
