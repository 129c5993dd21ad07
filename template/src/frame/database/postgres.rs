//! Postgres: for more than one replica, or more than one machine can hold.

use std::str::FromStr;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;

pub type Db = sqlx::Postgres;

pub(super) const EXPECTED_URL: &str =
    "a Postgres URL, such as `postgres://user:password@host:5432/database`";

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// Whether the table of migrations exists.
pub(super) const IS_MIGRATED: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

/// The URL as it may be seen: rebuilt without its password. `None` when it is not one.
pub(super) fn redacted(url: &str) -> Option<String> {
    let scheme = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let options = scheme.then(|| PgConnectOptions::from_str(url).ok())??;
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    Some(format!("postgres://{user}:[redacted]@{place}/{database}"))
}

pub(super) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name(env!("CARGO_PKG_NAME")))
}
