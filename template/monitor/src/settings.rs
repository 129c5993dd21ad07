//! All settings of this service: those of its parts, and its own.

use garde::Validate;
use mainstay::{database, idempotency};
use serde::Deserialize;

use crate::{changes, checks, summary, targets};

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

/// To add a section: a field here, and its defaults in `config/default.toml`.
#[derive(Debug, Clone, Deserialize, Validate)]
pub(crate) struct Settings {
    #[garde(dive)]
    pub(crate) mainstay: mainstay::Settings,
    #[garde(dive)]
    pub(crate) database: database::Settings,
    #[garde(dive)]
    pub(crate) idempotency: idempotency::Settings,
    #[garde(dive)]
    pub(crate) monitor: Monitor,
}

/// `[monitor]`: the settings of all parts of the monitor.
#[derive(Debug, Clone, Deserialize, Validate)]
pub(crate) struct Monitor {
    #[garde(dive)]
    pub(crate) targets: targets::Monitor,
    #[garde(dive)]
    pub(crate) checks: checks::Settings,
    #[garde(dive)]
    pub(crate) changes: changes::Settings,
    #[garde(dive)]
    pub(crate) summary: summary::Settings,
}

impl AsRef<mainstay::Settings> for Settings {
    fn as_ref(&self) -> &mainstay::Settings {
        &self.mainstay
    }
}
