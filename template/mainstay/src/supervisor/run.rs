//! One run of a task, whatever future it was made of. A panic is a failure like any other.

use std::pin::Pin;
use std::sync::Arc;

use super::context::Context;
use super::outcome::{Failure, Outcome};
use crate::panics;

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
