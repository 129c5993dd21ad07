//! Why a database cannot be used at the start, and the meaning of errors of statements.

use std::borrow::Cow;
use std::io;

use sqlx::error::DatabaseError;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgDatabaseError;
#[cfg(feature = "sqlite")]
use sqlx::sqlite::SqliteError;

/// Why a database cannot be used: a message that names the URL, without its secrets, and the settings to change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub(super) String);

/// What a failed statement means for its caller. `field` is the column that the error is about, if the
/// database names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such row.
    NotFound,
    /// No connection was free in time, or the database does not answer.
    Unavailable,
    /// The statement took longer than `database.statement_timeout`.
    Timeout,
    /// There is a row with this unique value.
    AlreadyExists {
        /// The column.
        field: Option<String>,
    },
    /// The row refers to one that does not exist, or is referred to.
    Reference {
        /// The column.
        field: Option<String>,
    },
    /// The value is not allowed.
    Invalid {
        /// The column.
        field: Option<String>,
    },
    /// A mistake in the service, such as SQL that is not valid.
    Internal,
}

/// What an engine has to say about an error that it reported.
pub(super) struct Report {
    /// The meaning of an error that is no violated constraint.
    pub(super) kind: ErrorKind,
    /// The column that the error is about.
    pub(super) field: Option<String>,
    /// What the error is about, by names of the schema, without values.
    pub(super) about: String,
}

fn report(error: &dyn DatabaseError) -> Report {
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.try_downcast_ref::<SqliteError>() {
        return super::sqlite::report(error);
    }
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
        return super::postgres::report(error);
    }
    Report {
        kind: ErrorKind::Internal,
        field: None,
        about: "another engine".to_owned(),
    }
}

impl ErrorKind {
    /// Classifies an error of a statement.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        use sqlx::error::ErrorKind as Violation;
        let error = match error {
            sqlx::Error::Database(error) => &**error,
            sqlx::Error::RowNotFound => return Self::NotFound,
            sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Self::Timeout;
            }
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => return Self::Unavailable,
            _ => return Self::Internal,
        };
        let Report { kind, field, .. } = report(error);
        match error.kind() {
            Violation::UniqueViolation => Self::AlreadyExists { field },
            Violation::ForeignKeyViolation => Self::Reference { field },
            Violation::NotNullViolation | Violation::CheckViolation => Self::Invalid { field },
            _ => kind,
        }
    }
}

/// The cause of an error at the start.
pub(super) fn explain(cause: &sqlx::Error) -> String {
    match cause {
        sqlx::Error::Database(error) => {
            format!("{} ({})", error.message(), report(&**error).about)
        }
        other => other.to_string(),
    }
}

/// The code of an error. Its message may contain values.
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
    match error {
        sqlx::Error::Database(refused) => {
            let (code, about) = (code(error), report(&**refused).about);
            format!("the database rejected the statement: {code} ({about})")
        }
        sqlx::Error::ColumnDecode { index, .. } => {
            format!("the column {index} has another type than the code expects")
        }
        sqlx::Error::Decode(_) => "a value has another type than the code expects".into(),
        sqlx::Error::Encode(_) => "a value cannot be encoded for a statement".into(),
        other => other.to_string(),
    }
}
