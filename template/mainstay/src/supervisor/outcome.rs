//! What the future of a task may return.

use std::fmt;

/// What the future of a task may return: `()`, or a `Result`.
pub trait Outcome {
    /// The message of the error, if it is one.
    fn into_failure(self) -> Option<String>;
}

impl Outcome for () {
    fn into_failure(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn into_failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// Why a run failed.
pub(super) type Failure = String;
