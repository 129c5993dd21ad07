//! Postgres: for more than one replica, or more than one machine can hold.

use std::borrow::Cow;
use std::fs::File;
use std::str::FromStr;

use sqlx::Executor;
use sqlx::error::DatabaseError;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgErrorPosition};

use super::errors::Refusal;
use super::lease::Lease;
use super::pool::Pool;
use super::settings::Limits;
use super::{Connection, Settings};
use crate::frame::settings::REDACTED;

pub type Db = sqlx::Postgres;

pub(super) const EXPECTED_URL: &str = "a Postgres URL, such as `postgres://user:password@host:5432/database`, with `/`, `@` and `:` in a \
     password written as %2F, %40 and %3A";

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

#[cfg(test)]
pub(super) const DIRECTORY: &str = "migrations/postgres";

/// Whether the table of migrations exists.
pub(super) const IS_MIGRATED: &str = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";

/// What this engine is called in OpenTelemetry's conventions.
pub(super) const SYSTEM: &str = "postgresql";

pub(super) const VERSION: &str = "SHOW server_version";

/// What reads is also what writes.
pub(super) const POOLS: [&str; 2] = ["connections", "connections"];

pub(super) const BEGIN: &str = "BEGIN";

/// Only a connection can tell.
pub(super) fn exists(_url: &str) -> bool {
    true
}

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
pub(super) fn redacted(url: &str) -> Option<String> {
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

/// One pool for everything.
pub(super) fn pools(settings: &Settings) -> Result<[Pool; 2], sqlx::Error> {
    let limits = Limits {
        // The server comes first, and says which statement it was.
        statement: settings.statement_timeout + settings.ping(),
        ..Limits::of(settings)
    };
    let pool = Pool::new(options(settings)?, limits);
    Ok([pool.clone(), pool])
}

fn options(settings: &Settings) -> Result<PgConnectOptions, sqlx::Error> {
    let limit = settings.statement_timeout.as_millis().to_string();
    // Whoever holds a transaction open for so long has forgotten it.
    let idle = (settings.statement_timeout * 2).as_millis().to_string();
    certificates_are_there(settings.url.expose())?;
    let mut options = PgConnectOptions::from_str(settings.url.expose())?;
    if options.get_application_name().is_none() {
        options = options.application_name(env!("CARGO_PKG_NAME"));
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

/// A server has its place to itself.
#[derive(Debug, Clone)]
pub(super) struct Place;

#[expect(clippy::unused_self, reason = "another engine has a file to look at")]
impl Place {
    #[expect(clippy::unnecessary_wraps, reason = "a file may not be there")]
    pub(super) fn of(_: &Settings) -> Result<Self, sqlx::Error> {
        Ok(Self)
    }

    #[expect(clippy::unused_async, reason = "a look at a file takes its time")]
    pub(super) async fn look(&self) -> Result<(), sqlx::Error> {
        Ok(())
    }

    pub(super) fn tell_of_leftovers(&self) {}
}

/// Asks for an answer, whatever it is.
pub(super) async fn ask(lease: &mut Lease) -> Result<(), sqlx::Error> {
    lease.execute("SELECT 1").await.map(drop)
}

/// Before version 14, a server does not know all of the options, and has said so by now.
#[expect(
    clippy::unnecessary_wraps,
    reason = "another engine has to refuse some"
)]
pub(super) fn accept(_version: &str) -> Result<(), sqlx::Error> {
    Ok(())
}

/// A statement runs in the server, which sees that nobody is there any more.
#[derive(Debug, Clone)]
pub(super) struct Interrupt;

#[expect(clippy::unused_self, reason = "another engine has something to ask")]
impl Interrupt {
    #[expect(clippy::unused_async, reason = "another engine has to ask for that")]
    pub(super) async fn install(_: &mut Connection) -> Result<Self, sqlx::Error> {
        Ok(Self)
    }

    pub(super) fn ask(&self) {}

    pub(super) fn forget(&self) {}
}

/// A migration may take its time. One outside of a transaction, such as `CREATE INDEX CONCURRENTLY`,
/// also waits for others as long as they last; any other must not, as everybody else waits behind it.
pub(super) async fn unhurried(
    connection: &mut Connection,
    concurrent: bool,
) -> Result<(), sqlx::Error> {
    connection.execute("SET statement_timeout = 0").await?;
    if concurrent {
        connection.execute("SET lock_timeout = 0").await?;
    }
    Ok(())
}

/// Held by the connection, until its end.
pub(super) struct Lock;

/// Asks instead of waiting: a session that waits for a lock would keep `CREATE INDEX CONCURRENTLY`
/// waiting for it in turn.
pub(super) async fn try_lock(
    connection: &mut Connection,
    _url: &str,
) -> Result<Option<Lock>, sqlx::Error> {
    // One for each database, and for each schema in it.
    let query = sqlx::query_scalar(
        "SELECT pg_try_advisory_lock(hashtextextended(current_database() || current_schema(), 0))",
    );
    let locked: bool = query.fetch_one(connection).await?;
    Ok(locked.then_some(Lock))
}

/// A lock of the transaction, by name, which is had at once or not at all: whoever waited for it would
/// keep a connection meanwhile.
pub(super) async fn claim(lease: &mut Lease, what: &str) -> Result<bool, sqlx::Error> {
    // One for each schema; a server keeps those of its databases apart.
    let query = sqlx::query_scalar(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || ' ' || $1, 0))",
    );
    query.bind(what).fetch_one(lease).await
}

/// At the end of a `SELECT` that picks what to work on from this table: what somebody else has picked is left
/// out. Of other tables in it nothing is locked.
#[must_use]
pub fn skip_locked(table: &str) -> String {
    format!("FOR UPDATE OF {table} SKIP LOCKED")
}

/// Whether nobody has answered, or nobody can just now. A wrong password or an unknown database are
/// no such thing.
pub(super) fn may_pass(error: &sqlx::Error) -> bool {
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
pub(super) fn is_fatal(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) => {
            let code = error.code();
            code.is_some_and(|code| FATAL.contains(&&*code) || code.starts_with("08"))
        }
        _ => false,
    }
}

/// Several statements in one string are one transaction, which ends with them; an open one is
/// told by its code.
pub(super) const MAY_BE_LEFT_OPEN: bool = false;

/// A `ROLLBACK` of nothing is no error.
pub(super) fn had_none(_: &sqlx::Error) -> bool {
    false
}

pub(super) fn refusal(error: &dyn DatabaseError) -> Refusal {
    match error.code().as_deref() {
        // A statement, or its wait for a lock, took too long.
        Some("57014" | "55P03") => Refusal::TooSlow,
        // What was given is no value of that type, or one that there is no room for.
        Some(code) if code.starts_with("22") => Refusal::Invalid { field: None },
        // It had to choose between two that block each other.
        Some("40001" | "40P01") => Refusal::Unavailable,
        Some(code) if FATAL.contains(&code) => Refusal::Unavailable,
        Some(code) if code.starts_with("08") || code.starts_with("53") => Refusal::Unavailable,
        _ => Refusal::Internal,
    }
}

/// The column that a constraint is about: told for itself, in "Key (url)=(…) already exists.", or by
/// the name of the constraint.
pub(super) fn field(error: &dyn DatabaseError) -> Option<String> {
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
pub(super) fn about(error: &dyn DatabaseError) -> Vec<String> {
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

pub(super) fn explain(error: &dyn DatabaseError) -> String {
    error.message().to_owned()
}

#[cfg(test)]
mod tests;
