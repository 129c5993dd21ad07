//! All settings of this service: those of its parts, and its own.

use garde::Validate;
use serde::Deserialize;

use crate::hello::Hello;

// The engine that keeps this service's data.{{ nl }}pub(crate) type Engine = sqlx::{% if database == "sqlite" %}Sqlite{% else %}Postgres{% endif %};{% comment %}
#[cfg(not(feature = "postgres"))]
pub(crate) type Engine = sqlx::Sqlite;
#[cfg(feature = "postgres")]
pub(crate) type Engine = sqlx::Postgres;
// {% endcomment %}

/// A database of that engine.
pub(crate) type Database = mainstay::Database<Engine>;

/// To add a section, add a field here, and its defaults in `config/default.toml`.
#[derive(Debug, Clone, Deserialize, Validate)]
pub(crate) struct Settings {
    #[garde(dive)]
    pub(crate) mainstay: mainstay::Settings,
    #[garde(dive)]
    pub(crate) database: mainstay::database::Settings,
    #[garde(dive)]
    pub(crate) hello: Hello,
}

impl AsRef<mainstay::Settings> for Settings {
    fn as_ref(&self) -> &mainstay::Settings {
        &self.mainstay
    }
}
