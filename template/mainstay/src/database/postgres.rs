//! Postgres.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{Error, Executor, Postgres};

use super::engine::{Engine, ErrorKind, Pools, Report};
use super::settings::Settings;
use crate::build_info::BuildInfo;

impl Engine for Postgres {
    const SCHEME: &'static str = "postgres";
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

    fn skip_locked(table: &str) -> String {
        format!("FOR UPDATE OF {table} SKIP LOCKED")
    }

    fn executor(connection: &mut PgConnection) -> impl Executor<'_, Database = Self> {
        connection
    }

    fn pools(settings: &Settings) -> Result<Pools<Self>, Error> {
        let statement = settings.statement_timeout.as_millis();
        let mut connect = PgConnectOptions::from_str(settings.url.expose())?.options([
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
        Ok(vec![("connections", settings.max_connections, connect)])
    }

    fn is_fatal(error: &Error) -> bool {
        match error {
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) => true,
            Error::Database(error) => error.code().is_some_and(|code| is_fatal_code(&code)),
            _ => false,
        }
    }
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

/// The column that the server names, or the one in "Key (url)=(…) already exists."
fn column(error: &PgDatabaseError) -> Option<String> {
    let key = || error.detail()?.strip_prefix("Key (")?.split_once(")=");
    let column = error.column().or_else(|| key()?.0.split(',').next());
    column.map(|column| column.trim().to_owned())
}

#[cfg(test)]
mod tests;
