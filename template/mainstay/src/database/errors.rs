//! Why a database cannot be used at the start, and the meaning of errors of statements.

use std::borrow::Cow;
use std::fmt::Display;
use std::io;

use sqlx::error::{DatabaseError, ErrorKind as Violation};

use super::engine::{ErrorKind, Report};
use super::settings::Settings;

/// Why a database cannot be used: a message that names the URL, without its secrets, and the settings to change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Settings {
    /// An error that names this database.
    pub(super) fn error(&self, problem: impl Display) -> Error {
        let (url, name) = (&self.url.redacted, &self.name);
        Error(format!(
            "cannot use the database {url} ({name}.url): {problem}"
        ))
    }

    pub(super) fn cannot_open(&self, cause: sqlx::Error) -> Error {
        match cause {
            sqlx::Error::PoolTimedOut => {
                let setting = format_args!("{}.acquire_timeout", self.name);
                self.error(format_args!("it did not answer in time ({setting})"))
            }
            sqlx::Error::Database(cause) => {
                let about = report(&*cause).about;
                self.error(format_args!("{} ({about})", cause.message()))
            }
            cause => self.error(cause),
        }
    }
}

impl ErrorKind {
    /// Classifies an error of a statement.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
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
        let Report { kind, column, .. } = report(error);
        match error.kind() {
            Violation::UniqueViolation => Self::AlreadyExists(column),
            Violation::ForeignKeyViolation => Self::Reference(column),
            Violation::NotNullViolation | Violation::CheckViolation => Self::Invalid(column),
            _ => kind,
        }
    }
}

fn report(error: &dyn DatabaseError) -> Report {
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.try_downcast_ref() {
        return super::sqlite::report(error);
    }
    #[cfg(feature = "postgres")]
    if let Some(error) = error.try_downcast_ref() {
        return super::postgres::report(error);
    }
    unreachable!("sqlx has no other engine here: {error}")
}

/// The code of an error. Its message may contain values.
pub(super) fn code(error: &sqlx::Error) -> Cow<'_, str> {
    match error {
        sqlx::Error::Database(error) => error.code().unwrap_or("other".into()),
        sqlx::Error::Io(error) => format!("{:?}", error.kind()).into(),
        _ => "other".into(),
    }
}

/// A message about a failed statement that is safe to log: it has the code of the error and names of the schema. That
/// of the database may contain values, which may come from a client.
#[must_use]
pub fn log_safe_message(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refused) => {
            let (code, about) = (code(error), report(&**refused).about);
            format!("the database rejected the statement: {code} ({about})")
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
            "a value has another type than the code expects".into()
        }
        other => other.to_string(),
    }
}
