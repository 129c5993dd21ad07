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

/// Only a connection can tell.
#[expect(
    clippy::unnecessary_wraps,
    reason = "another engine may find that the URL is wrong"
)]
pub(super) fn exists(_url: &str) -> Result<bool, sqlx::Error> {
    Ok(true)
}

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
    let authority = url.split("//").nth(1)?.split(['/', '?']).next()?;
    let before_host = authority.rsplit_once('@').map_or("", |(user, _)| user);
    if before_host.contains(':') || url.contains("password=") {
        return Some(format!("postgres://{user}:[redacted]@{place}/{database}"));
    }
    Some(url.to_owned())
}

pub(super) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name(env!("CARGO_PKG_NAME")))
}
