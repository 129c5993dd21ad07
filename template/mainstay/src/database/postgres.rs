//! Postgres.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{Error, Executor, Postgres};
use url::Url;

use super::engine::{Driver, Engine, ErrorKind, Pools, Report, Target};
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
    const BEGIN: &'static str = "BEGIN";
    // Several statements in one string are one transaction, which ends with them.
    const MAY_LEAVE_TRANSACTION_OPEN: bool = false;
    const PROBE: &'static str = "SELECT 1";
    const FIND_MIGRATIONS: &'static str =
        "SELECT 1 WHERE to_regclass('_sqlx_migrations') IS NOT NULL";
    // One lock for each schema of each database. Polled: a session that waits for it would block
    // `CREATE INDEX CONCURRENTLY` in turn.
    const LOCK_MIGRATIONS: &'static str = "SELECT 1 WHERE pg_try_advisory_lock(
        hashtextextended(current_database() || current_schema(), 0))";
    // A migration outside of a transaction, such as `CREATE INDEX CONCURRENTLY`, waits for others as long as
    // they last. Any other must not wait long for a lock: every statement on the table waits behind it.
    const LIFT_LIMITS: [&'static str; 2] = [
        "SET statement_timeout = 0",
        "SET statement_timeout = 0; SET lock_timeout = 0",
    ];

    fn executor(connection: &mut PgConnection) -> impl Executor<'_, Database = Self> {
        connection
    }

    fn redacted(url: &str) -> Option<String> {
        redacted(url)
    }

    fn pools(target: &Target<'_>) -> Result<Pools<Self>, Error> {
        let statement = target.statement_timeout.as_millis();
        let mut connect = PgConnectOptions::from_str(target.url)?.options([
            ("statement_timeout", statement),
            ("lock_timeout", statement),
            ("idle_in_transaction_session_timeout", statement * 2),
            // The server notices within seconds that the client is gone, and that the link is dead.
            ("client_connection_check_interval", 2000),
            ("tcp_keepalives_idle", 10),
            ("tcp_keepalives_interval", 5),
            ("tcp_keepalives_count", 3),
        ]);
        if connect.get_application_name().is_none() {
            connect = connect.application_name(BuildInfo::current().name);
        }
        Ok(vec![("connections", target.max_connections, connect)])
    }

    /// The server cancels a statement first, and says which one it was.
    fn client_timeout(target: &Target<'_>) -> Duration {
        target.statement_timeout + target.ping_timeout()
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

/// The parameters that a URL may have. sqlx ignores others, and logs their values.
const PARAMETERS: &str = "application_name dbname host hostaddr options password port sslcert sslkey sslmode \
     ssl-mode sslrootcert ssl-root-cert user";

/// The user, and what comes after the last `@`. A password with a reserved character that is not escaped reaches into
/// the path: such a URL is refused. With a password, the parameters are not shown.
fn redacted(url: &str) -> Option<String> {
    let parsed = Url::parse(url).ok()?;
    let is_known =
        |key: &str| key.starts_with("options[") || PARAMETERS.split(' ').any(|known| known == key);
    let has_spilled = parsed.path().contains('@') || parsed.fragment().is_some();
    let is_usable = matches!(parsed.scheme(), "postgres" | "postgresql")
        && !has_spilled
        && parsed.query_pairs().all(|(key, _)| is_known(&key))
        && PgConnectOptions::from_str(url).is_ok();
    let is_secret =
        parsed.password().is_some() || parsed.query_pairs().any(|(key, _)| key == "password");
    Some(match url.split('?').next().filter(|_| is_usable)? {
        _ if !is_secret => url.to_owned(),
        shown => match shown.rsplit_once('@') {
            Some((_, place)) => format!("postgres://{}:{REDACTED}@{place}", parsed.username()),
            None => shown.to_owned(),
        },
    })
}

/// Whether a connection is useless after an error with this code.
fn is_fatal_code(code: &str) -> bool {
    matches!(
        code,
        "0A000" // a migration has changed the result of a prepared statement
        | "25006" // the server is read-only, as after a failover
        | "25P02" // a failed transaction was left open
        | "25P03" | "25P04" // the transaction was idle, or took, for too long
        | "26000" // a pooler has switched the session, without its prepared statements
    ) || code.starts_with("57P") // the server or the database stops, starts or is gone
        || code.starts_with("08")
}

pub(super) fn report(error: &PgDatabaseError) -> Report {
    let kind = match error.code() {
        // A statement timeout, or a lock timeout.
        "57014" | "55P03" => ErrorKind::Timeout,
        // A serialization failure, or a deadlock.
        "40001" | "40P01" => ErrorKind::Unavailable,
        code if is_fatal_code(code) || code.starts_with("53") => ErrorKind::Unavailable,
        // A value that is invalid for its type, or out of range.
        code if code.starts_with("22") => ErrorKind::Invalid(None),
        _ => ErrorKind::Internal,
    };
    let about = [
        ("table", error.table()),
        ("column", error.column()),
        ("constraint", error.constraint()),
        ("routine", error.routine()),
    ];
    let about = about.into_iter();
    let about = about.filter_map(|(what, name)| Some(format!("{what} {}", name?)));
    Report {
        kind,
        column: column(error),
        about: about.collect::<Vec<_>>().join(", "),
    }
}

/// The column that the server names, or the one in "Key (url)=(…) already exists." or in the name of a check:
/// `targets_url_check`.
fn column(error: &PgDatabaseError) -> Option<String> {
    let key = || error.detail()?.strip_prefix("Key (")?.split_once(")=");
    let check = || {
        let column = error.constraint()?.strip_prefix(error.table()?)?;
        column.strip_prefix('_')?.strip_suffix("_check")
    };
    let column = match (error.column(), key()) {
        (Some(column), _) => column,
        (None, Some((columns, _))) => columns.split(',').next()?.trim(),
        (None, None) => check()?,
    };
    Some(column.to_owned())
}

#[cfg(test)]
mod tests;
