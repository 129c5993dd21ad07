//! `[database]`

use std::time::Duration;

use garde::Validate;
use serde::Deserialize;

use super::url::Url;
use crate::importance::Importance;
use crate::settings::{self, at_least};

/// `[database]`, or another section of the same keys, which `config/database.toml` describes.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::waits_less_than_a_request))]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Settings {
    /// The name of the section, which names the database in the log and in metrics.
    #[serde(rename = "[section]")]
    pub name: String,
    pub url: Url,
    #[garde(range(min = 1, max = 10_000))]
    pub max_connections: u32,
    #[garde(custom(at_least("100ms")))]
    pub acquire_timeout: Duration,
    #[garde(custom(at_least("10ms")))]
    pub statement_timeout: Duration,
    #[garde(custom(at_least("1s")))]
    pub max_lifetime: Duration,
    #[garde(custom(at_least("10ms")))]
    pub hold_warning: Duration,
    pub on_start: OnStart,
    pub migrate_on_start: bool,
    #[garde(custom(at_least("10ms")))]
    pub migrate_timeout: Duration,
    pub unknown_migrations: UnknownMigrations,
    /// What a failing database means for `/readyz`: `health.database`, by the name of this section.
    pub health: Importance,
    #[serde(rename = "http.request_timeout")]
    pub request_timeout: Duration,
}

/// What a start does while the database cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the type says what they mean")]
pub enum OnStart {
    Wait,
    Fail,
}

/// What a start does on a database that a newer version has migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the type says what they mean")]
pub enum UnknownMigrations {
    Refuse,
    Tolerate,
}

impl Settings {
    fn waits_less_than_a_request(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.acquire_timeout < self.request_timeout,
            &["acquire_timeout", "http.request_timeout"],
            "a request must not run out of time while it waits for a connection; \
             make the first shorter than the second",
        )
    }

    /// The time limit of a round trip that asks nothing. A connection that does not answer must leave time to try
    /// another one.
    pub(super) fn ping_timeout(&self) -> Duration {
        self.acquire_timeout / 4
    }
}
