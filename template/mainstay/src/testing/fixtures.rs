//! Settings for a test.

use std::time::Duration;

use crate::Importance;
use crate::database::{Engine, OnStart, Settings, UnknownMigrations};
use crate::settings::Setting;

/// Settings of a database at this URL, which do not wait for long.
#[must_use]
pub fn database_settings<E: Engine>(url: &str) -> Settings<E> {
    Settings {
        name: "database".to_owned(),
        url: Setting::parse(&url.into()).expect("a URL of this engine"),
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
    }
}
