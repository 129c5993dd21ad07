//! `[database]`

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use config::ValueKind;
use secrecy::{ExposeSecret, SecretString};

use super::engine::Engine;
use super::errors::{Error, explain};
use crate::importance::Importance;
use crate::settings::{Check, REDACTED, Reader, Section, Setting, one_of};

/// `[database]`, or another section of the same keys.
#[derive(Debug)]
pub struct Settings<E> {
    /// The name of the section, which names the database in the log and in metrics.
    pub name: String,
    /// Where the database is.
    pub url: Url<E>,
    /// The most connections that are open at once. SQLite has one more, which writes.
    pub max_connections: u32,
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// The age at which a connection is replaced.
    pub max_lifetime: Duration,
    /// After how long the holder of a connection is logged.
    pub hold_warning: Duration,
    /// What a start does while the database cannot be reached.
    pub on_start: OnStart,
    /// Whether a start applies pending migrations.
    pub migrate_on_start: bool,
    /// How long a start waits while another process migrates.
    pub migrate_timeout: Duration,
    /// What a start does on a database that a newer version has migrated.
    pub unknown_migrations: UnknownMigrations,
    /// What a failing database means for `/readyz`: `health.database`, by the name of this section.
    pub health: Importance,
}

/// What a start does while the database cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStart {
    /// Tries again until it can be reached.
    Wait,
    /// Ends the start.
    Fail,
}

/// What a start does on a database that a newer version has migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl<E: Engine> Settings<E> {
    /// The time limit of a round trip that asks nothing. A connection that does not answer must leave time to try
    /// another one.
    pub(super) fn ping_timeout(&self) -> Duration {
        self.acquire_timeout / 4
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
        match cause {
            sqlx::Error::PoolTimedOut => {
                let name = &self.name;
                self.error(format_args!(
                    "it did not answer in time ({name}.acquire_timeout)"
                ))
            }
            cause => self.error(explain(&cause)),
        }
    }
}

impl<E: Engine> Section for Settings<E> {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            name: from.name().to_owned(),
            url: from.value("url"),
            max_connections: from.value("max_connections"),
            acquire_timeout: from.value("acquire_timeout"),
            statement_timeout: from.value("statement_timeout"),
            max_lifetime: from.value("max_lifetime"),
            hold_warning: from.value("hold_warning"),
            on_start: from.value("on_start"),
            migrate_on_start: from.value("migrate_on_start"),
            migrate_timeout: from.value("migrate_timeout"),
            unknown_migrations: from.value("unknown_migrations"),
            health: from.value_at(&format!("health.{}", from.name())),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.range("max_connections", self.max_connections, 1..=10_000);
        for (key, time, least) in [
            ("acquire_timeout", self.acquire_timeout, 100),
            ("statement_timeout", self.statement_timeout, 10),
            ("max_lifetime", self.max_lifetime, 1_000),
            ("hold_warning", self.hold_warning, 10),
            ("migrate_timeout", self.migrate_timeout, 10),
        ] {
            let least = Duration::from_millis(least);
            let words = format!("must be at least {}", humantime::format_duration(least));
            check.that(time >= least, &[key], words);
        }
        let request_timeout = check.value::<Duration>("http.request_timeout");
        check.that(
            request_timeout.is_none_or(|limit| self.acquire_timeout < limit),
            &["acquire_timeout", "http.request_timeout"],
            "a request must not run out of time while it waits for a connection; \
             make the first shorter than the second",
        );
    }
}

impl Setting for OnStart {
    const EXPECTED: &'static str = "`wait` or `fail`";

    fn parse(value: &ValueKind) -> Option<Self> {
        one_of(value, &[("wait", Self::Wait), ("fail", Self::Fail)])
    }
}

impl Setting for UnknownMigrations {
    const EXPECTED: &'static str = "`refuse` or `tolerate`";

    fn parse(value: &ValueKind) -> Option<Self> {
        let words = [("refuse", Self::Refuse), ("tolerate", Self::Tolerate)];
        one_of(value, &words)
    }
}

impl<E> Url<E> {
    pub(super) fn expose(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl<E: Engine> Setting for Url<E> {
    const EXPECTED: &'static str = E::EXPECTED_URL;
    const SECRET: bool = true;

    fn parse(value: &ValueKind) -> Option<Self> {
        let url = String::parse(value).filter(|url| !url.contains(REDACTED))?;
        let redacted = E::redacted(&url)?;
        Some(Self {
            secret: url.into(),
            redacted,
            engine: PhantomData,
        })
    }

    fn redacted(&self) -> String {
        self.redacted.clone()
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
