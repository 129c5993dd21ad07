//! `[database]`

use std::time::Duration;

use garde::Validate;
use serde::Deserialize;

use super::url::Url;
use crate::importance::Importance;
use crate::settings::{self, at_least};

/// `[database]`, or another section of the same keys.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::waits_less_than_a_request))]
pub struct Settings {
    /// The name of the section, which names the database in the log and in metrics.
    #[serde(rename = "[section]")]
    pub name: String,
    /// Where the database is.
    pub url: Url,
    /// The most connections that are open at once. SQLite has one more, which writes.
    #[garde(range(min = 1, max = 10_000))]
    pub max_connections: u32,
    /// How long a caller waits for a connection.
    #[garde(custom(at_least("100ms")))]
    pub acquire_timeout: Duration,
    /// How long a statement may take.
    #[garde(custom(at_least("10ms")))]
    pub statement_timeout: Duration,
    /// The age at which a connection is replaced.
    #[garde(custom(at_least("1s")))]
    pub max_lifetime: Duration,
    /// After how long the holder of a connection is logged, when it returns the connection.
    #[garde(custom(at_least("10ms")))]
    pub hold_warning: Duration,
    /// What a start does while the database cannot be reached.
    pub on_start: OnStart,
    /// Whether a start applies pending migrations.
    pub migrate_on_start: bool,
    /// How long a start waits while another process migrates.
    #[garde(custom(at_least("10ms")))]
    pub migrate_timeout: Duration,
    /// What a start does on a database that a newer version has migrated.
    pub unknown_migrations: UnknownMigrations,
    /// What a failing database means for `/readyz`: `health.database`, by the name of this section.
    pub health: Importance,
    /// The time limit of a request, which waits for a connection at most.
    #[serde(rename = "http.request_timeout")]
    pub request_timeout: Duration,
}

/// What a start does while the database cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStart {
    /// Tries again until it can be reached.
    Wait,
    /// Ends the start.
    Fail,
}

/// What a start does on a database that a newer version has migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownMigrations {
    /// Ends the start.
    Refuse,
    /// Starts all the same.
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
