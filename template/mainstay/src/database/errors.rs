//! Errors of a database at the start, and the meaning of errors of statements.

use std::borrow::Cow;

use sqlx::error::{DatabaseError, ErrorKind as Violation};
use sqlx::migrate::MigrateError;

use super::error_kind::{ErrorKind, ErrorRules};
use crate::build_info::BuildInfo;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database does not answer, or refuses the connection.
    #[error("cannot open the database {url} (database.url): {}", words(.cause))]
    Open {
        /// The URL, without its secrets.
        url: String,
        /// The error of the driver.
        cause: sqlx::Error,
    },
    /// The applied migrations and those of this binary do not match, or cannot be read.
    #[error("cannot migrate the database {url}: {cause}")]
    Migrate {
        /// The URL, without its secrets.
        url: String,
        /// The error of the driver.
        cause: MigrateError,
    },
    /// A migration failed.
    #[error("the migration {file} failed on the database {url}: {}", words(.cause))]
    Migration {
        /// The URL, without its secrets.
        url: String,
        /// The file of the migration.
        file: String,
        /// The error of the driver.
        cause: sqlx::Error,
    },
    /// Another process migrates the database, and takes too long.
    #[error(
        "the database {url} is being migrated by another process, which did not end within {limit} \
         (database.migrate_timeout)"
    )]
    Locked {
        /// The URL, without its secrets.
        url: String,
        /// `database.migrate_timeout`
        limit: String,
    },
    /// Migrations are pending, and the settings do not let a start apply them.
    #[error(
        "the database {url} lacks {}, and database.migrate_on_start is false; \
         run `{program} migrate` first",
        counted(*.count),
        program = BuildInfo::current().name
    )]
    Pending {
        /// The URL, without its secrets.
        url: String,
        /// How many migrations are pending.
        count: usize,
    },
    /// The database does not exist, and the settings do not let a start create it.
    #[error(
        "there is no database {url} yet, and database.migrate_on_start is false; \
         run `{program} migrate` first",
        program = BuildInfo::current().name
    )]
    Missing {
        /// The URL, without its secrets.
        url: String,
    },
    /// The database has a migration that this binary does not have.
    #[error(
        "the database {url} has migration {version}, which this binary {what}; \
         run the binary that applied it, or a newer one"
    )]
    Foreign {
        /// The URL, without its secrets.
        url: String,
        /// The version of the migration.
        version: i64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Error {
    /// Whether it may succeed later: nothing has answered yet.
    pub(super) fn is_transient(&self, rules: ErrorRules) -> bool {
        match self {
            Self::Open { cause, .. } => (rules.is_transient)(cause),
            _ => false,
        }
    }
}

/// The rules of each engine that this crate was built with.
const RULES: &[ErrorRules] = &[
    #[cfg(feature = "sqlite")]
    super::sqlite::ERRORS,
    #[cfg(feature = "postgres")]
    super::postgres::ERRORS,
];

/// The rules of the engine that reported an error.
fn rules(error: &dyn DatabaseError) -> ErrorRules {
    let reported_by = RULES.iter().find(|rules| (rules.has_reported)(error));
    *reported_by.unwrap_or(&RULES[0])
}

/// So many migrations, in words.
pub(super) fn counted(migrations: usize) -> String {
    let ending = if migrations == 1 { "" } else { "s" };
    format!("{migrations} migration{ending}")
}

/// The cause in words, which for a pool are about the pool only.
fn words(cause: &sqlx::Error) -> String {
    match cause {
        sqlx::Error::PoolTimedOut => "it did not answer in time (database.acquire_timeout)".into(),
        sqlx::Error::Database(error) => (rules(&**error).explain)(&**error),
        other => other.to_string(),
    }
}

/// What a failure is called: never by its words, which may have values in them.
pub(super) fn code(error: &sqlx::Error) -> Cow<'_, str> {
    match error {
        sqlx::Error::Database(error) => error.code().unwrap_or("other".into()),
        sqlx::Error::Io(error) => format!("{:?}", error.kind()).into(),
        _ => "other".into(),
    }
}

/// A message about a failed statement that is safe to log.
///
/// The message of a database may contain values, which may come from a client. This one has the code of the
/// error and the names of tables, columns and constraints only.
#[must_use]
pub fn log_safe_message(error: &sqlx::Error) -> String {
    use sqlx::Error::{ColumnDecode, Database, Decode, Encode};
    match error {
        Database(refused) => {
            let about = (rules(&**refused).about)(&**refused).join(", ");
            format!("the database has refused it: {} ({about})", code(error))
        }
        ColumnDecode { index, .. } => {
            format!("the column {index} is not of the type that is asked for")
        }
        Decode(_) => "a value is not of the type that is asked for".into(),
        Encode(_) => "a value cannot be put into a statement".into(),
        other => other.to_string(),
    }
}

impl ErrorKind {
    /// Classifies an error of a statement.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        use std::io::ErrorKind::TimedOut;
        match error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Io(error) if error.kind() == TimedOut => Self::Timeout,
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => Self::Unavailable,
            sqlx::Error::Database(error) => Self::of_database(&**error),
            _ => Self::Internal,
        }
    }

    fn of_database(error: &dyn DatabaseError) -> Self {
        let field = || (rules(error).field)(error);
        match error.kind() {
            Violation::UniqueViolation => Self::AlreadyExists { field: field() },
            Violation::ForeignKeyViolation => Self::Reference { field: field() },
            Violation::NotNullViolation | Violation::CheckViolation => {
                Self::Invalid { field: field() }
            }
            _ => (rules(error).kind)(error),
        }
    }
}
