//! All settings of this service: those of its parts, and its own.

use mainstay::settings::{Reader, Section};

use crate::hello::Hello;

// The engine that keeps this service's data.{{ nl }}pub(crate) type Engine = sqlx::{% if database == "sqlite" %}Sqlite{% else %}Postgres{% endif %};{% comment %}
#[cfg(not(feature = "postgres"))]
pub(crate) type Engine = sqlx::Sqlite;
#[cfg(feature = "postgres")]
pub(crate) type Engine = sqlx::Postgres;
// {% endcomment %}

/// A database of that engine.
pub(crate) type Database = mainstay::Database<Engine>;

/// To add a section, add a field here, a line in `read`, and its defaults in `config/default.toml`.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) mainstay: mainstay::Settings,
    pub(crate) database: mainstay::database::Settings<Engine>,
    pub(crate) hello: Hello,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            hello: from.section("hello"),
            mainstay: from.part(),
            database: from.section("database"),
        }
    }
}

impl AsRef<mainstay::Settings> for Settings {
    fn as_ref(&self) -> &mainstay::Settings {
        &self.mainstay
    }
}
