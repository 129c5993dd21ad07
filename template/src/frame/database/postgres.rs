//! Postgres: for more than one replica, or more than one machine can hold.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;

use crate::frame::settings::REDACTED;

pub type Db = sqlx::Postgres;

pub(super) const EXPECTED_URL: &str = "a Postgres URL, such as `postgres://user:password@host:5432/database`, with `/`, `@` and `:` in a \
     password written as %2F, %40 and %3A";

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

/// What a URL may say that is no secret, beside host, user and database.
const HARMLESS: [&str; 3] = ["application_name", "sslmode", "sslrootcert"];

/// The URL as it may be seen: whole if nothing in it can be a secret, or else rebuilt without what
/// can. `None` when it is not a URL, or one in which a password has spilled into other parts.
pub(super) fn redacted(url: &str) -> Option<String> {
    let parsed = url::Url::parse(url).ok()?;
    let scheme = matches!(parsed.scheme(), "postgres" | "postgresql");
    let path = parsed.path().trim_start_matches('/');
    let host = parsed.host_str().unwrap_or_default();
    let spilled =
        path.contains(['/', '@', ':']) || host.contains('@') || parsed.fragment().is_some();
    if !scheme || spilled || PgConnectOptions::from_str(url).is_err() {
        return None;
    }
    let harmless: Vec<_> = parsed
        .query_pairs()
        .filter(|(key, _)| HARMLESS.contains(&&**key))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if parsed.password().is_none() && harmless.len() == parsed.query_pairs().count() {
        return Some(url.to_owned());
    }
    let port = parsed
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let query = if harmless.is_empty() {
        String::new()
    } else {
        format!("?{}", harmless.join("&"))
    };
    let user = parsed.username();
    Some(format!(
        "postgres://{user}:{REDACTED}@{host}{port}/{path}{query}"
    ))
}

pub(super) fn options(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    Ok(PgConnectOptions::from_str(url)?.application_name(env!("CARGO_PKG_NAME")))
}

/// What is still running when the database closes runs in the server, which sees that nobody is
/// there any more.
pub(super) fn interruptible(pool: PoolOptions<Db>, _closing: &Arc<AtomicBool>) -> PoolOptions<Db> {
    pool
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn a_password_is_shown_nowhere_in_a_url() {
        for (url, shown) in [
            ("postgres://u@h/db", "postgres://u@h/db"),
            (
                "postgres://u@h/db?sslmode=require",
                "postgres://u@h/db?sslmode=require",
            ),
            (
                "postgres://u:s3cr3t@h:5433/db",
                "postgres://u:[redacted]@h:5433/db",
            ),
            (
                "postgresql://u:s%2Fcr3t@h/db",
                "postgres://u:[redacted]@h/db",
            ),
            (
                "postgres://u:s3cr3t@h/db?sslmode=require",
                "postgres://u:[redacted]@h/db?sslmode=require",
            ),
            (
                "postgres://u@h/db?password=s3cr3t",
                "postgres://u:[redacted]@h/db",
            ),
            (
                "postgres://u@h/db?pass%77ord=s3cr3t",
                "postgres://u:[redacted]@h/db",
            ),
        ] {
            assert_eq!(redacted(url).as_deref(), Some(shown), "{url}");
        }
    }

    #[test]
    fn a_url_into_which_a_password_has_spilled_is_none() {
        for url in [
            "postgres://u:/s3cr3t@h/db",
            "postgres://u:12/34s3cr3t@h/db",
            "postgres://u:a#s3cr3t@h/db",
            "postgres://u:a@s3cr3t@h/x@y",
            "mysql://u@h/db",
            "s3cr3t",
            "",
        ] {
            assert_eq!(redacted(url), None, "{url}");
        }
    }
}
