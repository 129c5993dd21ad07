//! `[database]`

use std::time::Duration;

use config::ValueKind;
use secrecy::{ExposeSecret, SecretString};

use super::engine;
use super::errors::Error;
use crate::frame::settings::{Check, REDACTED, Reader, Section, Setting};

/// `[database]`
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Url,
    pub max_connections: u32,
    pub acquire_timeout: Duration,
    pub statement_timeout: Duration,
    pub max_lifetime: Duration,
    pub hold_warning: Duration,
    pub on_start: OnStart,
    pub migrate_on_start: bool,
    pub migrate_timeout: Duration,
    pub unknown_migrations: Unknown,
}

/// What a start does while the database cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStart {
    Wait,
    Fail,
}

/// What a start does on a database that a newer version has migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    Refuse,
    Tolerate,
}

/// Where the database is. A password in it is a secret, and the rest of it may be seen.
#[derive(Debug, Clone)]
pub struct Url {
    whole: SecretString,
    shown: String,
}

impl Settings {
    /// How long the database may take for a round trip that asks nothing, before its connection
    /// counts as dead: several of these must fit into the wait for a connection.
    pub(super) fn ping(&self) -> Duration {
        self.acquire_timeout / 4
    }

    pub(super) fn cannot_open(&self, cause: sqlx::Error) -> Error {
        Error::Open {
            url: self.url.shown().to_owned(),
            cause,
        }
    }
}

/// What a pool keeps to.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) connections: u32,
    pub(super) acquire: Duration,
    /// For a round trip that asks nothing.
    pub(super) ping: Duration,
    pub(super) statement: Duration,
    pub(super) lifetime: Duration,
    pub(super) hold: Duration,
}

impl Limits {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            connections: settings.max_connections,
            acquire: settings.acquire_timeout,
            ping: settings.ping(),
            statement: settings.statement_timeout,
            lifetime: settings.max_lifetime,
            hold: settings.hold_warning,
        }
    }
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
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
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.range("database.max_connections", self.max_connections, 1..=10_000);
        for (key, time, least) in [
            ("acquire_timeout", self.acquire_timeout, 100),
            ("statement_timeout", self.statement_timeout, 10),
            ("max_lifetime", self.max_lifetime, 1_000),
            ("hold_warning", self.hold_warning, 10),
            ("migrate_timeout", self.migrate_timeout, 10),
        ] {
            let least = Duration::from_millis(least);
            let words = format!("must be at least {}", humantime::format_duration(least));
            check.that(time >= least, &[&format!("database.{key}")], words);
        }
    }
}

impl Setting for OnStart {
    const EXPECTED: &'static str = "`wait` or `fail`";

    fn parse(value: &ValueKind) -> Option<Self> {
        match String::parse(value)?.as_str() {
            "wait" => Some(Self::Wait),
            "fail" => Some(Self::Fail),
            _ => None,
        }
    }
}

impl Setting for Unknown {
    const EXPECTED: &'static str = "`refuse` or `tolerate`";

    fn parse(value: &ValueKind) -> Option<Self> {
        match String::parse(value)?.as_str() {
            "refuse" => Some(Self::Refuse),
            "tolerate" => Some(Self::Tolerate),
            _ => None,
        }
    }
}

impl Url {
    /// As it may be seen.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn expose(&self) -> &str {
        self.whole.expose_secret()
    }
}

impl Setting for Url {
    const EXPECTED: &'static str = engine::EXPECTED_URL;
    const SECRET: bool = true;

    fn parse(value: &ValueKind) -> Option<Self> {
        let text = String::parse(value).filter(|text| !text.contains(REDACTED))?;
        let shown = engine::redacted(&text)?;
        Some(Self {
            whole: text.into(),
            shown,
        })
    }

    fn redacted(&self) -> String {
        self.shown.clone()
    }
}
