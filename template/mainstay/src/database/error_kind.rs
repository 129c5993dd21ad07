//! What a failed statement means for its caller, and how the errors of an engine are read.

use sqlx::error::DatabaseError;

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

/// How the errors of one engine are read.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct ErrorRules {
    /// Whether this engine reported the error.
    pub(super) has_reported: fn(&dyn DatabaseError) -> bool,
    /// Whether a connection may succeed later: nothing has answered yet.
    pub(super) is_transient: fn(&sqlx::Error) -> bool,
    /// Whether the connection is useless afterwards.
    pub(super) is_fatal: fn(&sqlx::Error) -> bool,
    /// Whether a `ROLLBACK` failed because there was no transaction.
    pub(super) is_no_transaction: fn(&sqlx::Error) -> bool,
    pub(super) kind: fn(&dyn DatabaseError) -> ErrorKind,
    /// The field that the error is about.
    pub(super) field: fn(&dyn DatabaseError) -> Option<String>,
    /// What the error is about, by names of the schema, without values.
    pub(super) about: fn(&dyn DatabaseError) -> Vec<String>,
    /// The error in words for an operator.
    pub(super) explain: fn(&dyn DatabaseError) -> String,
}
