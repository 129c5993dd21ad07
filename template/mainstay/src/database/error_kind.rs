//! The kinds of errors of statements, and how an engine tells them apart.

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

/// Reads the errors of one engine.
pub(super) struct ErrorReader {
    /// Whether this engine reported the error.
    pub(super) has_reported: fn(&dyn DatabaseError) -> bool,
    pub(super) kind: fn(&dyn DatabaseError) -> ErrorKind,
    /// The column that the error is about.
    pub(super) field: fn(&dyn DatabaseError) -> Option<String>,
    /// What the error is about, by names of the schema, without values.
    pub(super) about: fn(&dyn DatabaseError) -> Vec<String>,
    /// Advice for an operator, after the message of an error at the start.
    pub(super) advice: fn(&dyn DatabaseError) -> &'static str,
}
