//! Why a database cannot be used at the start, and the meaning of errors of statements.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use sqlx::error::{DatabaseError, ErrorKind as Violation};
use sqlx::migrate::MigrateError;

use super::error_kind::{ErrorKind, ErrorReader};
use crate::build_info::BuildInfo;

/// Why a database cannot be used: a message that names the URL, without its secrets, and the settings to change.
#[derive(Debug)]
pub struct Error {
    /// The section of its settings.
    pub(super) section: String,
    /// The URL, without its secrets.
    pub(super) url: String,
    pub(super) reason: Reason,
}

#[derive(Debug)]
pub(super) enum Reason {
    /// The database does not answer, or refuses the connection.
    Open(sqlx::Error),
    /// The migrations cannot be read or recorded.
    Migrate(MigrateError),
    /// The migration in this file failed.
    Migration(String, sqlx::Error),
    /// Another process migrates for longer than this.
    Locked(Duration),
    /// So many migrations are pending, and the settings do not let a start apply them.
    Pending(usize),
    /// The settings do not let a start create the database.
    Missing,
    /// The database has this migration, and the binary does not.
    Foreign(i64, &'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            section,
            url,
            reason,
        } = self;
        let program = BuildInfo::current().name;
        match reason {
            Reason::Open(sqlx::Error::PoolTimedOut) => write!(
                f,
                "cannot open the database {url} ({section}.url): it did not answer in time \
                 ({section}.acquire_timeout)"
            ),
            Reason::Open(cause) => {
                let cause = explain(cause);
                write!(f, "cannot open the database {url} ({section}.url): {cause}")
            }
            Reason::Migrate(cause) => write!(f, "cannot migrate the database {url}: {cause}"),
            Reason::Migration(file, cause) => {
                let cause = explain(cause);
                write!(
                    f,
                    "the migration {file} failed on the database {url}: {cause}"
                )
            }
            Reason::Locked(limit) => write!(
                f,
                "another process migrates the database {url}, and did not end within {} \
                 ({section}.migrate_timeout)",
                humantime::format_duration(*limit)
            ),
            Reason::Pending(count) => write!(
                f,
                "the database {url} has pending migrations ({count}), and {section}.migrate_on_start is \
                 false; run `{program} migrate` first"
            ),
            Reason::Missing => write!(
                f,
                "there is no database {url} yet, and {section}.migrate_on_start is false; \
                 run `{program} migrate` first"
            ),
            Reason::Foreign(version, what) => write!(
                f,
                "the database {url} has migration {version}, which this binary {what}; \
                 run the binary that applied it, or a newer one"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl ErrorKind {
    /// Classifies an error of a statement.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        use std::io::ErrorKind::TimedOut;
        let error = match error {
            sqlx::Error::Database(error) => &**error,
            sqlx::Error::RowNotFound => return Self::NotFound,
            sqlx::Error::Io(error) if error.kind() == TimedOut => return Self::Timeout,
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => return Self::Unavailable,
            _ => return Self::Internal,
        };
        let reader = reader(error);
        let field = || (reader.field)(error);
        match error.kind() {
            Violation::UniqueViolation => Self::AlreadyExists { field: field() },
            Violation::ForeignKeyViolation => Self::Reference { field: field() },
            Violation::NotNullViolation | Violation::CheckViolation => {
                Self::Invalid { field: field() }
            }
            _ => (reader.kind)(error),
        }
    }
}

const READERS: &[ErrorReader] = &[
    #[cfg(feature = "sqlite")]
    super::sqlite::ERRORS,
    #[cfg(feature = "postgres")]
    super::postgres::ERRORS,
];

fn reader(error: &dyn DatabaseError) -> &'static ErrorReader {
    let reader = READERS.iter().find(|reader| (reader.has_reported)(error));
    reader.unwrap_or(&READERS[0])
}

/// The cause of an error at the start.
fn explain(cause: &sqlx::Error) -> String {
    match cause {
        sqlx::Error::Database(error) => {
            let error = &**error;
            format!("{}{}", error.message(), (reader(error).advice)(error))
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
            let about = (reader(&**refused).about)(&**refused).join(", ");
            format!(
                "the database rejected the statement: {} ({about})",
                code(error)
            )
        }
        sqlx::Error::ColumnDecode { index, .. } => {
            format!("the column {index} has another type than the code expects")
        }
        sqlx::Error::Decode(_) => "a value has another type than the code expects".into(),
        sqlx::Error::Encode(_) => "a value cannot be encoded for a statement".into(),
        other => other.to_string(),
    }
}
