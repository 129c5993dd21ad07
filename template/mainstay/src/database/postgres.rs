//! Postgres: for more than one replica, or more than one machine can hold.

use std::borrow::Cow;
use std::fs::File;
use std::str::FromStr;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgErrorPosition};
use sqlx::{Executor, Postgres};

use super::engine::{Applied, Engine, Options, Pools, Target, private::Sealed};
use super::error_kind::{ErrorKind, ErrorRules};
use crate::build_info::BuildInfo;
use crate::settings::REDACTED;

impl Sealed for Postgres {}

impl Engine for Postgres {
    const EXPECTED_URL: &'static str = "a Postgres URL, such as `postgres://user:password@host:5432/database`, with `/`, `@` and `:` in a \
         password written as %2F, %40 and %3A";
    const SYSTEM: &'static str = "postgresql";
    const POOLS: [&'static str; 2] = ["connections", "connections"];
    const BEGIN: &'static str = "BEGIN";
    // Several statements in one string are one transaction, which ends with them; an open one is
    // reported by its code.
    const MAY_LEAVE_TRANSACTION_OPEN: bool = false;
    const ERRORS: ErrorRules = ERRORS;

    type Storage = ();
    type Interrupt = ();
    type Lock = ();

    fn executor(connection: &mut PgConnection) -> impl Executor<'_, Database = Self> {
        connection
    }

    fn redacted(url: &str) -> Option<String> {
        redacted(url)
    }

    /// Only a connection can tell.
    fn exists(_url: &str) -> bool {
        true
    }

    fn pools(target: &Target<'_>) -> Result<Pools<Options<Self>>, sqlx::Error> {
        Ok(Pools::One(options(target)?))
    }

    /// The server ends a statement first, and says which one it was.
    fn client_timeout(statement: Duration, ping: Duration) -> Duration {
        statement + ping
    }

    fn open_storage(target: &Target<'_>) -> Result<(), sqlx::Error> {
        certificates_are_there(target.url)
    }

    async fn check_storage((): &()) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn warn_of_leftovers((): &()) {}

    async fn version<L>(lease: &mut L) -> Result<String, sqlx::Error>
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>,
    {
        sqlx::query_scalar("SHOW server_version")
            .fetch_one(lease)
            .await
    }

    /// Before version 14, a server does not know all of the options, and has refused the connection.
    fn check_version(_version: &str) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn probe<L>(lease: &mut L) -> Result<(), sqlx::Error>
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>,
    {
        lease.execute("SELECT 1").await.map(drop)
    }

    /// A statement runs in the server, which notices that its client is gone.
    async fn install_interrupt(_: &mut PgConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn interrupt((): &()) {}

    fn clear_interrupt((): &()) {}

    async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, sqlx::Error> {
        let is_migrated = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
        if !is_migrated.fetch_one(&mut *connection).await? {
            return Ok(Vec::new());
        }
        let query = sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations");
        query.fetch_all(connection).await
    }

    /// A migration may take its time. One outside of a transaction, such as `CREATE INDEX
    /// CONCURRENTLY`, also waits for others as long as they last; any other must not, since everything
    /// else waits behind it.
    async fn lift_limits(
        connection: &mut PgConnection,
        concurrent: bool,
    ) -> Result<(), sqlx::Error> {
        connection.execute("SET statement_timeout = 0").await?;
        if concurrent {
            connection.execute("SET lock_timeout = 0").await?;
        }
        Ok(())
    }

    /// Asks instead of waiting: a session that waits for a lock would keep `CREATE INDEX
    /// CONCURRENTLY` waiting for it in turn. The lock is the connection's, until its end.
    async fn try_lock(
        connection: &mut PgConnection,
        _url: &str,
    ) -> Result<Option<()>, sqlx::Error> {
        // One for each database, and for each schema in it.
        let query = sqlx::query_scalar(
            "SELECT pg_try_advisory_lock(hashtextextended(current_database() || current_schema(), 0))",
        );
        let locked: bool = query.fetch_one(connection).await?;
        Ok(locked.then_some(()))
    }

    /// A lock of the transaction, which is had at once or not at all: to wait for it would keep a
    /// connection meanwhile.
    async fn try_claim<L>(lease: &mut L, name: &str) -> Result<bool, sqlx::Error>
    where
        L: Send,
        for<'c> &'c mut L: Executor<'c, Database = Self>,
    {
        // One for each schema; a server keeps those of its databases apart.
        let query = sqlx::query_scalar(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' ' || $1, 0))",
        );
        query.bind(name.to_owned()).fetch_one(lease).await
    }

    fn skip_locked(table: &str) -> String {
        format!("FOR UPDATE OF {table} SKIP LOCKED")
    }
}

/// How the errors of Postgres are read.
pub(super) const ERRORS: ErrorRules = ErrorRules {
    has_reported: |error| error.try_downcast_ref::<PgDatabaseError>().is_some(),
    is_transient,
    is_fatal,
    is_no_transaction,
    kind,
    field,
    about,
    explain,
};

/// What a URL may say that is no secret, beside host, user and database; and what may be one.
const HARMLESS: [&str; 5] = ["application_name", "host", "port", "sslmode", "sslrootcert"];
const KNOWN: [&str; 9] = [
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

/// The URL as it may be seen: whole if nothing in it can be a secret, or else rebuilt without what
/// can. `None` when it is not a URL, or one in which a password has spilled into other parts.
fn redacted(url: &str) -> Option<String> {
    let parsed = url::Url::parse(url).ok()?;
    let scheme = matches!(parsed.scheme(), "postgres" | "postgresql");
    let path = parsed.path().trim_start_matches('/');
    let host = parsed.host_str().unwrap_or_default();
    let spilled =
        path.contains(['/', '@', ':']) || host.contains('@') || parsed.fragment().is_some();
    // What is not known would be passed over, and its value told in a warning.
    let unknown = |(key, _): (Cow<'_, str>, _)| {
        let known = HARMLESS.iter().chain(&KNOWN).any(|known| *known == key);
        !known && !key.starts_with("options[")
    };
    let spilled = spilled || parsed.query().is_some_and(|query| query.contains('@'));
    if !scheme || spilled || parsed.query_pairs().any(unknown) {
        return None;
    }
    if PgConnectOptions::from_str(url).is_err() {
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

fn options(target: &Target<'_>) -> Result<PgConnectOptions, sqlx::Error> {
    let limit = target.statement_timeout.as_millis().to_string();
    // Whoever holds a transaction open for so long has forgotten it.
    let idle = (target.statement_timeout * 2).as_millis().to_string();
    let mut options = PgConnectOptions::from_str(target.url)?;
    if options.get_application_name().is_none() {
        options = options.application_name(BuildInfo::current().name);
    }
    let options = options.options([
        ("statement_timeout", limit.as_str()),
        ("lock_timeout", limit.as_str()),
        ("idle_in_transaction_session_timeout", idle.as_str()),
        // The server notices within seconds that we are gone: in the middle of a statement, …
        ("client_connection_check_interval", "2000"),
        // … and when the link is dead.
        ("tcp_keepalives_idle", "10"),
        ("tcp_keepalives_interval", "5"),
        ("tcp_keepalives_count", "3"),
    ]);
    Ok(options)
}

/// A file that is missing is no server that is away, for which a start would wait.
#[expect(
    clippy::disallowed_methods,
    reason = "a start that waits for nothing else"
)]
fn certificates_are_there(url: &str) -> Result<(), sqlx::Error> {
    const FILES: [&str; 4] = ["sslcert", "sslkey", "sslrootcert", "ssl-root-cert"];
    let url = url::Url::parse(url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    for (key, file) in url.query_pairs() {
        // It may be the certificate itself.
        let is_file = FILES.contains(&&*key) && !file.starts_with("-----BEGIN");
        if let Some(Err(error)) = is_file.then(|| File::open(&*file)) {
            let words = format!("{key}={file} cannot be read: {error}");
            return Err(sqlx::Error::Configuration(words.into()));
        }
    }
    Ok(())
}

/// Whether nobody has answered, or nobody can just now. A wrong password or an unknown database are
/// no such thing.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        // It starts or stops, or is full.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            matches!(&*code, "57P01" | "57P02" | "57P03" | "53300") || code.starts_with("08")
        }),
        _ => false,
    }
}

/// What makes a connection useless.
const FATAL: [&str; 11] = [
    "0A000", // a migration has changed what a prepared statement gives
    "25006", // the server can only read, as after a failover
    "25P02", // somebody has left a failed transaction open
    "25P03", // it was idle in a transaction for too long
    "25P04", // its transaction took too long
    "26000", // a pooler has given it another session, without its prepared statements
    "57P01", // the server goes away, …
    "57P02", "57P03", "57P04", // … with its database
    "57P05", // it was idle for too long
];

/// Whether a connection is of no use after that.
fn is_fatal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code();
            code.is_some_and(|code| FATAL.contains(&&*code) || code.starts_with("08"))
        }
        _ => false,
    }
}

/// A `ROLLBACK` of nothing is no error.
fn is_no_transaction(_: &sqlx::Error) -> bool {
    false
}

fn kind(error: &dyn DatabaseError) -> ErrorKind {
    match error.code().as_deref() {
        // A statement, or its wait for a lock, took too long.
        Some("57014" | "55P03") => ErrorKind::Timeout,
        // What was given is no value of that type, or one that there is no room for.
        Some(code) if code.starts_with("22") => ErrorKind::Invalid { field: None },
        // It had to choose between two that block each other.
        Some("40001" | "40P01") => ErrorKind::Unavailable,
        Some(code) if FATAL.contains(&code) => ErrorKind::Unavailable,
        Some(code) if code.starts_with("08") || code.starts_with("53") => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

/// The column that a constraint is about: told for itself, in "Key (url)=(…) already exists.", or by
/// the name of the constraint.
fn field(error: &dyn DatabaseError) -> Option<String> {
    let error = error.try_downcast_ref::<PgDatabaseError>()?;
    if let Some(column) = error.column() {
        return Some(column.to_owned());
    }
    if let Some((columns, _)) = error
        .detail()
        .and_then(|detail| detail.strip_prefix("Key (")?.split_once(")="))
    {
        return Some(columns.split(',').next()?.trim().to_owned());
    }
    let named = error.constraint()?.strip_prefix(error.table()?)?;
    let column = named.strip_prefix('_')?.strip_suffix("_check")?;
    Some(column.to_owned())
}

/// What an error is about, in the names of the schema, and where it comes from: in the text of the
/// statement, which this service has, and in the server.
fn about(error: &dyn DatabaseError) -> Vec<String> {
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else {
        return Vec::new();
    };
    let place = match error.position() {
        Some(PgErrorPosition::Original(place)) => Some(format!("character {place}")),
        // Of a text that only the server has.
        Some(PgErrorPosition::Internal { .. }) | None => None,
    };
    let named = |what, name: Option<&str>| name.map(|name| format!("{what} {name}"));
    let about = [
        named("table", error.table()),
        named("column", error.column()),
        named("constraint", error.constraint()),
        place,
        named("routine", error.routine()),
    ];
    about.into_iter().flatten().collect()
}

fn explain(error: &dyn DatabaseError) -> String {
    error.message().to_owned()
}

#[cfg(test)]
mod tests;
