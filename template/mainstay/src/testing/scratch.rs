//! An empty database for each test, which is removed in the end, and settings for it.

use std::marker::PhantomData;
use std::time::Duration;

#[cfg(feature = "sqlite")]
use tempfile::TempDir;

use super::Guard;
use crate::Importance;
use crate::database::{Engine, OnStart, Settings, UnknownMigrations, Url};

/// An engine that can make a database for a test.
pub trait TestEngine: Engine {
    #[doc(hidden)]
    fn create() -> (String, Guard);
}

/// An empty database that no other test uses. It is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch<E> {
    url: String,
    _guard: Guard,
    _engine: PhantomData<E>,
}

impl<E: TestEngine> Scratch<E> {
    /// Makes one.
    #[must_use]
    pub fn new() -> Self {
        let (url, guard) = E::create();
        Self {
            url,
            _guard: guard,
            _engine: PhantomData,
        }
    }

    /// The setting `database.url`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

#[cfg(feature = "sqlite")]
impl TestEngine for sqlx::Sqlite {
    fn create() -> (String, Guard) {
        let directory = TempDir::new().expect("a directory for a database");
        let file = directory.path().join("scratch.db");
        (format!("sqlite:{}", file.display()), Box::new(directory))
    }
}

/// Settings of a database at this URL, with short time limits.
#[must_use]
pub fn database_settings(url: &str) -> Settings {
    Settings {
        name: "database".to_owned(),
        url: Url::parse(url).expect("a URL of a database"),
        max_connections: 2,
        acquire_timeout: Duration::from_secs(2),
        statement_timeout: Duration::from_secs(5),
        max_lifetime: Duration::from_mins(30),
        hold_warning: Duration::from_secs(5),
        on_start: OnStart::Wait,
        migrate_on_start: true,
        migrate_timeout: Duration::from_secs(30),
        unknown_migrations: UnknownMigrations::Refuse,
        health: Importance::Degraded,
        request_timeout: Duration::from_secs(10),
    }
}
