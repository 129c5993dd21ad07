//! How a run ended, in one form: whatever a future gives, and a panic as well.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use crate::panics;

/// What a task's future may give.
pub trait Outcome {
    /// The error, if it is one, in words.
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

/// A run, whatever it was made of.
pub(super) type Run = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// A run that begins when it is first polled, so that whatever `make` does by itself is part of it.
pub(super) fn erased<M, F>(make: Arc<M>, context: Context) -> Run
where
    M: Fn(Context) -> F + Send + Sync + 'static,
    F: Future<Output: Outcome> + Send + 'static,
{
    Box::pin(async move { make(context).await.into_failure().map_or(Ok(()), Err) })
}

/// The run, with a panic turned into a failure.
pub(super) async fn caught(run: Run) -> Result<(), Failure> {
    panics::caught(run).await.flatten()
}
