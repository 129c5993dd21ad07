//! Panics: caught where one must not end anything else, and logged.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{FutureExt, TryFutureExt};

thread_local! {
    /// The location of the last panic on this thread, which only the hook knows.
    static LOCATION: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs a future. A panic is an error: `panicked at src/a.rs:1:2: message`. The location is missing before
/// [`install_hook`] was called. Not an `async fn`, which holds the future twice.
pub(crate) fn caught<F: Future>(future: F) -> impl Future<Output = Result<F::Output, String>> {
    let caught = AssertUnwindSafe(future).catch_unwind();
    caught.map_err(|panic| describe(&*panic))
}

/// Runs synchronous work. A panic is an error, as in [`caught`].
pub(crate) fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| describe(&*panic))
}

/// Locks a mutex. The panic that poisoned it was caught or logged elsewhere.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn describe(panic: &(dyn Any + Send)) -> String {
    let message = message_of(panic);
    match LOCATION.take() {
        Some(location) => format!("panicked at {location}: {message}"),
        None => format!("panicked: {message}"),
    }
}

/// From now on, a panic is an event in the log, and not text on stderr.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let message = message_of(panic.payload());
        if let Some(location) = panic.location() {
            // A thread that ends has no such cell any more.
            _ = LOCATION.try_with(|last| last.set(Some(location.to_string())));
        }
        tracing::error!(
            panic = message,
            location = panic.location().map(tracing::field::display),
            "panicked"
        );
    }));
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

#[cfg(test)]
pub(crate) use tests::log_in_tests;

#[cfg(test)]
mod tests {
    use std::panic::{panic_any, resume_unwind};

    use super::*;

    /// Like [`install_hook`], for tests, which share one hook: the text stays on stderr as well.
    pub(crate) fn log_in_tests() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let shown = std::panic::take_hook();
            install_hook();
            let logged = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                logged(panic);
                shown(panic);
            }));
        });
    }

    /// Asserts the location and the message of a panic.
    #[track_caller]
    fn assert_panic(caught: Result<(), String>, line: u32, message: &str) {
        let caught = caught.unwrap_err();
        let location = format!("panicked at {}:{line}:", file!());
        assert!(caught.starts_with(&location), "{caught}, not {location}");
        assert!(caught.ends_with(&format!(": {message}")), "{caught}");
    }

    #[tokio::test]
    async fn a_panic_has_its_location_and_its_message() {
        log_in_tests();

        let (line, work) = (line!(), async { panic!("words") });
        assert_panic(caught(work).await, line, "words");

        let (line, work) = (line!(), async { panic!("{} words", 2) });
        assert_panic(caught(work).await, line, "2 words");

        let (line, work) = (line!(), || panic_any(7));
        assert_panic(attempt(work), line, "without a message");
    }

    #[test]
    fn panic_unseen_by_the_hook_has_its_message_alone() {
        log_in_tests();
        let seen = attempt(|| panic!("words"));
        assert!(seen.unwrap_err().starts_with::<&str>("panicked at "));

        let unseen = attempt(|| resume_unwind(Box::new("words")));

        assert_eq!(unseen, Err::<(), _>("panicked: words".to_owned()));
    }
}
