//! All settings of this service: those of its parts, and its own.

use mainstay::settings::{Reader, Section};
use mainstay::{database, idempotency};

use crate::targets::Monitor;
use crate::{changes, checks, summary};

// The engine that keeps this service's data.{{ nl }}pub(crate) type Engine = sqlx::{% if database == "sqlite" %}Sqlite{% else %}Postgres{% endif %};{% comment %}
#[cfg(not(feature = "postgres"))]
pub(crate) type Engine = sqlx::Sqlite;
#[cfg(feature = "postgres")]
pub(crate) type Engine = sqlx::Postgres;
// {% endcomment %}

/// A database of that engine, …
pub(crate) type Database = database::Database<Engine>;
/// … a transaction in it, …
pub(crate) type Transaction = database::Transaction<Engine>;
/// … and the idempotency keys that it keeps.
pub(crate) type Keys = idempotency::Keys<Engine>;

/// To add a section: a field here, a line in `read`, and its defaults in `config/default.toml`.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) mainstay: mainstay::Settings,
    pub(crate) database: database::Settings<Engine>,
    pub(crate) idempotency: idempotency::Settings,
    pub(crate) monitor: Monitor,
    pub(crate) checks: checks::Settings,
    pub(crate) changes: changes::Settings,
    pub(crate) summary: summary::Settings,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            mainstay: from.part(),
            database: from.section("database"),
            idempotency: from.section("idempotency"),
            monitor: from.section("monitor"),
            checks: from.section("monitor"),
            changes: from.section("monitor"),
            summary: from.section("monitor"),
        }
    }
}

impl AsRef<mainstay::Settings> for Settings {
    fn as_ref(&self) -> &mainstay::Settings {
        &self.mainstay
    }
}
