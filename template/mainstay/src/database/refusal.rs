//! What a failed statement means for its caller, and how an engine's errors are read.

use sqlx::error::DatabaseError;

/// What a failed statement means for whoever has asked for it. A field is one that they gave, as far
/// as the database tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such row.
    NotFound,
    /// There was no connection in time, or the database is away.
    Unavailable,
    /// It took longer than a statement may.
    TooSlow,
    /// There is one of these already.
    Taken { field: Option<String> },
    /// It refers to something that is not there, or is referred to.
    Related { field: Option<String> },
    /// A value that must not be.
    Invalid { field: Option<String> },
    /// A mistake of the service.
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
    pub(super) refusal: fn(&dyn DatabaseError) -> Refusal,
    /// The field that the error is about.
    pub(super) field: fn(&dyn DatabaseError) -> Option<String>,
    /// What the error is about, by names of the schema, without values.
    pub(super) about: fn(&dyn DatabaseError) -> Vec<String>,
    /// The error in words for an operator.
    pub(super) explain: fn(&dyn DatabaseError) -> String,
}
