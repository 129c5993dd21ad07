//! Postgres.

use std::borrow::Cow;
use std::fs::File;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgErrorPosition};
use sqlx::{Error, Executor, Postgres};
use url::Url;

use super::engine::{Applied, Driver, Engine, Options, Target};
use super::error_kind::{ErrorKind, ErrorReader};
use crate::build_info::BuildInfo;
use crate::settings::REDACTED;

impl Engine for Postgres {
    fn skip_locked(table: &str) -> String {
        format!("FOR UPDATE OF {table} SKIP LOCKED")
    }
}

impl Driver for Postgres {
    const EXPECTED_URL: &'static str = "a Postgres URL, such as `postgres://user:password@host:5432/database`, with `/`, `@` and `:` in a \
         password written as %2F, %40 and %3A";
    const SYSTEM: &'static str = "postgresql";
    const POOLS: [&'static str; 2] = ["connections", "connections"];
    const BEGIN: &'static str = "BEGIN";
    // Several statements in one string are one transaction, which ends with them.
    const MAY_LEAVE_TRANSACTION_OPEN: bool = false;

    type Storage = ();
    type MigrationLock = ();

    fn executor(connection: &mut PgConnection) -> impl Executor<'_, Database = Self> {
        connection
    }

    fn redacted(url: &str) -> Option<String> {
        redacted(url)
    }

    fn options(target: &Target<'_>) -> Result<[Options<Self>; 2], Error> {
        let statement = format!("{}ms", target.statement_timeout.as_millis());
        let idle = format!("{}ms", (target.statement_timeout * 2).as_millis());
        let mut options = PgConnectOptions::from_str(target.url)?.options([
            ("statement_timeout", statement.as_str()),
            ("lock_timeout", statement.as_str()),
            ("idle_in_transaction_session_timeout", idle.as_str()),
            // The server notices within seconds that the client is gone, …
            ("client_connection_check_interval", "2000"),
            // … and that the link is dead.
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ]);
        if options.get_application_name().is_none() {
            options = options.application_name(BuildInfo::current().name);
        }
        Ok([options.clone(), options])
    }

    /// The server cancels a statement first, and says which one it was.
    fn client_timeout(statement: Duration, ping: Duration) -> Duration {
        statement + ping
    }

    /// Fails on a missing certificate: a start would wait for it as for a server.
    #[expect(
        clippy::disallowed_methods,
        reason = "the start waits for nothing else"
    )]
    fn open_storage(target: &Target<'_>) -> Result<(), Error> {
        const FILES: [&str; 4] = ["sslcert", "sslkey", "sslrootcert", "ssl-root-cert"];
        let url = Url::parse(target.url).map_err(|error| Error::Configuration(error.into()))?;
        for (key, file) in url.query_pairs() {
            // The value may be the certificate itself.
            let is_file = FILES.contains(&&*key) && !file.starts_with("-----BEGIN");
            if is_file && let Err(error) = File::open(&*file) {
                let problem = format!("{key}={file} cannot be read: {error}");
                return Err(Error::Configuration(problem.into()));
            }
        }
        Ok(())
    }

    fn probe(connection: &mut PgConnection) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { connection.execute("SELECT 1").await.map(drop) })
    }

    fn applied(connection: &mut PgConnection) -> BoxFuture<'_, Result<Vec<Applied>, Error>> {
        Box::pin(async {
            let is_migrated =
                sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
            if !is_migrated.fetch_one(&mut *connection).await? {
                return Ok(Vec::new());
            }
            let query = sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations");
            query.fetch_all(connection).await
        })
    }

    /// A migration outside of a transaction, such as `CREATE INDEX CONCURRENTLY`, waits for others as long as
    /// they last. Any other must not wait long for a lock, since every statement on the table waits behind it.
    fn lift_limits(
        connection: &mut PgConnection,
        concurrent: bool,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            connection.execute("SET statement_timeout = 0").await?;
            if concurrent {
                connection.execute("SET lock_timeout = 0").await?;
            }
            Ok(())
        })
    }

    /// Polls: a session that waits for the lock would block `CREATE INDEX CONCURRENTLY` in turn. The lock ends
    /// with the connection.
    fn try_lock<'a>(
        connection: &'a mut PgConnection,
        _url: &'a str,
    ) -> BoxFuture<'a, Result<Option<()>, Error>> {
        // One lock for each schema of each database.
        let query = sqlx::query_scalar(
            "SELECT pg_try_advisory_lock(hashtextextended(current_database() || current_schema(), 0))",
        );
        Box::pin(async {
            let is_locked: bool = query.fetch_one(connection).await?;
            Ok(is_locked.then_some(()))
        })
    }

    /// Does not wait for the lock, since that would occupy a connection.
    fn try_claim(
        connection: &mut PgConnection,
        name: String,
    ) -> BoxFuture<'_, Result<bool, Error>> {
        // One lock for each schema; a server keeps those of its databases apart.
        let query = sqlx::query_scalar(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' ' || $1, 0))",
        );
        Box::pin(query.bind(name).fetch_one(connection))
    }

    /// The server does not answer, starts, stops or is full. A wrong password or an unknown database is for good.
    fn is_transient(error: &Error) -> bool {
        match error {
            Error::Io(_) | Error::PoolTimedOut => true,
            Error::Database(error) => error.code().is_some_and(|code| {
                matches!(&*code, "57P01" | "57P02" | "57P03" | "53300") || code.starts_with("08")
            }),
            _ => false,
        }
    }

    fn is_fatal(error: &Error) -> bool {
        match error {
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => true,
            Error::Database(error) => error.code().is_some_and(|code| is_fatal_code(&code)),
            _ => false,
        }
    }
}

/// Parameters of a URL that are shown, and those that may be secret. Others are refused: sqlx ignores them, and
/// logs their values.
const SHOWN: [&str; 5] = ["application_name", "host", "port", "sslmode", "sslrootcert"];
const HIDDEN: [&str; 9] = [
    "dbname",
    "hostaddr",
    "options",
    "password",
    "sslcert",
    "sslkey",
    "ssl-mode",
    "ssl-root-cert",
    "user",
];

fn redacted(url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok()?;
    let host = parsed.host_str().unwrap_or_default();
    let path = parsed.path().trim_start_matches('/');
    // A reserved character in a password that is not escaped moves a part of it to another part of the URL.
    let has_spilled = path.contains(['/', '@', ':'])
        || host.contains('@')
        || parsed.fragment().is_some()
        || parsed.query().is_some_and(|query| query.contains('@'));
    if has_spilled || !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return None;
    }
    let mut has_secret = parsed.password().is_some();
    let mut query = String::new();
    for (key, value) in parsed.query_pairs() {
        if SHOWN.contains(&&*key) {
            let separator = if query.is_empty() { '?' } else { '&' };
            query.extend([separator.to_string(), format!("{key}={value}")]);
        } else if HIDDEN.contains(&&*key) || key.starts_with("options[") {
            has_secret = true;
        } else {
            return None;
        }
    }
    PgConnectOptions::from_str(url).ok()?;
    if !has_secret {
        return Some(url.to_owned());
    }
    let port = parsed.port().map(|port| format!(":{port}"));
    Some(format!(
        "postgres://{}:{REDACTED}@{host}{}/{path}{query}",
        parsed.username(),
        port.unwrap_or_default()
    ))
}

pub(super) const ERRORS: ErrorReader = ErrorReader {
    has_reported: |error| error.try_downcast_ref::<PgDatabaseError>().is_some(),
    kind,
    field,
    about,
    advice: |_| "",
};

/// Whether a connection is useless after an error with this code.
fn is_fatal_code(code: &str) -> bool {
    const FATAL: [&str; 11] = [
        "0A000", // a migration has changed the result of a prepared statement
        "25006", // the server is read-only, as after a failover
        "25P02", // a failed transaction was left open
        "25P03", // idle in a transaction for too long
        "25P04", // the transaction took too long
        "26000", // a pooler has switched the session, without its prepared statements
        "57P01", // the server shuts down
        "57P02", "57P03", "57P04", // the database was dropped
        "57P05", // idle for too long
    ];
    FATAL.contains(&code) || code.starts_with("08")
}

fn kind(error: &dyn DatabaseError) -> ErrorKind {
    let code = error.code().unwrap_or(Cow::Borrowed(""));
    match &*code {
        // A statement timeout, or a lock timeout.
        "57014" | "55P03" => ErrorKind::Timeout,
        // A serialization failure, or a deadlock.
        "40001" | "40P01" => ErrorKind::Unavailable,
        code if is_fatal_code(code) || code.starts_with("53") => ErrorKind::Unavailable,
        // A value that is invalid for its type, or out of range.
        code if code.starts_with("22") => ErrorKind::Invalid { field: None },
        _ => ErrorKind::Internal,
    }
}

/// The column that the server names, or the one in "Key (url)=(…) already exists." or in the name of a check:
/// `targets_url_check`.
fn field(error: &dyn DatabaseError) -> Option<String> {
    let error = error.try_downcast_ref::<PgDatabaseError>()?;
    if let Some(column) = error.column() {
        return Some(column.to_owned());
    }
    let key = error
        .detail()
        .and_then(|detail| detail.strip_prefix("Key ("));
    if let Some((columns, _)) = key.and_then(|key| key.split_once(")=")) {
        return Some(columns.split(',').next()?.trim().to_owned());
    }
    let check = error.constraint()?.strip_prefix(error.table()?)?;
    let column = check.strip_prefix('_')?.strip_suffix("_check")?;
    Some(column.to_owned())
}

fn about(error: &dyn DatabaseError) -> Vec<String> {
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else {
        return Vec::new();
    };
    let position = match error.position() {
        Some(PgErrorPosition::Original(position)) => Some(format!("character {position}")),
        // A position in a text that only the server has.
        Some(PgErrorPosition::Internal { .. }) | None => None,
    };
    let named = |what, name: Option<&str>| name.map(|name| format!("{what} {name}"));
    let about = [
        named("table", error.table()),
        named("column", error.column()),
        named("constraint", error.constraint()),
        position,
        named("routine", error.routine()),
    ];
    about.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
