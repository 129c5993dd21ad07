//! Panics: caught where one must not end anything else, and told in the log.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Runs a future to its end, also if that is a panic.
///
/// # Errors
///
/// With the words of the panic.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        // After a panic the future is never polled again, so that nobody sees what it left broken.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(words_of(panic.as_ref()).to_owned())),
        }
    })
    .await
}

/// From here on, a panic is an event in the log, and no text beside it.
pub fn log() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(
            panic = words_of(panic.payload()),
            location = panic.location().map(tracing::field::display),
            "panicked"
        );
    }));
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
