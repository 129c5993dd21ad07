//! What can go wrong with a database: before it can be used, and with a statement.

use std::borrow::Cow;

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::migrate::MigrateError;

use super::refusal::{ErrorRules, Refusal};
use crate::build_info::BuildInfo;

/// What can go wrong before the first query, named so that it can be mended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open the database {url} (database.url): {}", words(.cause))]
    Open { url: String, cause: sqlx::Error },
    #[error("cannot migrate the database {url}: {cause}")]
    Migrate { url: String, cause: MigrateError },
    #[error("the migration {file} failed on the database {url}: {}", words(.cause))]
    Migration {
        url: String,
        file: String,
        cause: sqlx::Error,
    },
    #[error(
        "the database {url} is being migrated by another process, which did not end within {limit} \
         (database.migrate_timeout)"
    )]
    Locked { url: String, limit: String },
    #[error(
        "the database {url} lacks {}, and database.migrate_on_start is false; \
         run `{program} migrate` first",
        counted(*.count),
        program = BuildInfo::current().name
    )]
    Pending { url: String, count: usize },
    #[error(
        "there is no database {url} yet, and database.migrate_on_start is false; \
         run `{program} migrate` first",
        program = BuildInfo::current().name
    )]
    Missing { url: String },
    #[error(
        "the database {url} has migration {version}, which this binary {what}; \
         run the binary that applied it, or a newer one"
    )]
    Foreign {
        url: String,
        version: i64,
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
#[must_use]
pub fn counted(migrations: usize) -> String {
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

/// What the log has of a failed statement. What a database says of values, it says with the values, which
/// may be a client's: of that, there is only what it is called, and the names of what it is about.
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

impl Refusal {
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        use std::io::ErrorKind::TimedOut;
        match error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Io(error) if error.kind() == TimedOut => Self::TooSlow,
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
            ErrorKind::UniqueViolation => Self::Taken { field: field() },
            ErrorKind::ForeignKeyViolation => Self::Related { field: field() },
            ErrorKind::NotNullViolation | ErrorKind::CheckViolation => {
                Self::Invalid { field: field() }
            }
            _ => (rules(error).refusal)(error),
        }
    }
}
