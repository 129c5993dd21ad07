//! How a run ended, in one form: whatever a future gives, and a panic as well.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

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

pub(super) fn erased<F>(future: F) -> Run
where
    F: Future<Output: Outcome> + Send + 'static,
{
    Box::pin(async move { future.await.into_failure().map_or(Ok(()), Err) })
}

/// The run, with a panic turned into a failure.
pub(super) async fn caught(mut run: Run) -> Result<(), Failure> {
    poll_fn(move |context| {
        // After a panic the run is never polled again, so that nobody sees what it left broken.
        catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))).unwrap_or_else(|panic| {
            let failure = format!("panicked: {}", words_of(panic.as_ref()));
            std::task::Poll::Ready(Err(failure))
        })
    })
    .await
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    if let Some(words) = panic.downcast_ref::<&str>() {
        words
    } else if let Some(words) = panic.downcast_ref::<String>() {
        words
    } else {
        "without words"
    }
}
