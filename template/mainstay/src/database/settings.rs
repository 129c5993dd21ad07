//! `[database]`

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use garde::Validate;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::engine::{Engine, Target};
use super::errors::{Error, explain};
use crate::importance::Importance;
use crate::settings::{self, at_least, whole_number};

/// `[database]`, or another section of the same keys.
#[derive(Debug, Deserialize, Validate)]
#[serde(bound = "E: Engine")]
#[garde(allow_unvalidated)]
#[garde(custom(Self::waits_less_than_a_request))]
pub struct Settings<E> {
    /// The name of the section, which names the database in the log and in metrics.
    #[serde(rename = "[section]")]
    pub name: String,
    /// Where the database is.
    pub url: Url<E>,
    /// The most connections that are open at once. SQLite has one more, which writes.
    #[serde(deserialize_with = "whole_number::<1, 10_000, _, _>")]
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
    /// After how long the holder of a connection is logged.
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
    #[serde(rename = "health.[section]")]
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

/// The URL of a database. A password in it is a secret, and is redacted.
pub struct Url<E> {
    secret: SecretString,
    redacted: String,
    engine: PhantomData<fn() -> E>,
}

impl<E> Settings<E> {
    fn waits_less_than_a_request(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.acquire_timeout < self.request_timeout,
            &["acquire_timeout", "http.request_timeout"],
            "a request must not run out of time while it waits for a connection; \
             make the first shorter than the second",
        )
    }
}

impl<E: Engine> Settings<E> {
    pub(super) fn ping_timeout(&self) -> Duration {
        self.target().ping_timeout()
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            url: self.url.expose(),
            max_connections: self.max_connections,
            acquire_timeout: self.acquire_timeout,
            statement_timeout: self.statement_timeout,
        }
    }

    /// An error that names this database.
    pub(super) fn error(&self, problem: impl fmt::Display) -> Error {
        let Self { name, url, .. } = self;
        Error(format!(
            "cannot use the database {} ({name}.url): {problem}",
            url.redacted
        ))
    }

    pub(super) fn cannot_open(&self, cause: sqlx::Error) -> Error {
        let name = &self.name;
        self.error(match cause {
            sqlx::Error::PoolTimedOut => {
                format!("it did not answer in time ({name}.acquire_timeout)")
            }
            cause => explain(&cause),
        })
    }
}

impl<E: Engine> Url<E> {
    /// `None` if the engine cannot use the URL.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        Some(Self {
            secret: url.into(),
            redacted: E::redacted(url)?,
            engine: PhantomData,
        })
    }
}

impl<E> Url<E> {
    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl<'de, E: Engine> Deserialize<'de> for Url<E> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        settings::from_secret_text(value, E::EXPECTED_URL, |url| {
            Self::parse(url).inspect(|url| settings::redact_as(&url.redacted))
        })
    }
}

// Derived implementations would require the same of the engine.
impl<E> Clone for Url<E> {
    fn clone(&self) -> Self {
        Self {
            secret: self.secret.clone(),
            redacted: self.redacted.clone(),
            engine: PhantomData,
        }
    }
}

impl<E> fmt::Debug for Url<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Url").field(&self.redacted).finish()
    }
}

impl<E> Clone for Settings<E> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            url: self.url.clone(),
            ..*self
        }
    }
}
