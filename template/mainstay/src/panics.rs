//! Panics: caught where one must not end anything else, and told in the log.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Runs a future to its end, also if that is a panic, in whatever it does: when it is dropped, too.
///
/// # Errors
///
/// With the place and the words of the panic, `panicked at src/a.rs:1:2: words`. The place is known
/// once [`log`] was called.
pub(crate) fn caught<F: Future>(future: F) -> Caught<F> {
    let future = Some(future);
    Caught { future }
}

pin_project! {
    /// See [`caught`]. Not an `async fn`, which has room for the future twice. It is also dropped
    /// without a panic when nobody waits for it any more.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless they are polled"]
    pub(crate) struct Caught<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Caught<F> {
        fn drop(this: Pin<&mut Self>) {
            // Nobody is there to be told; the log has it.
            let mut future = this.project().future;
            if future.is_some() {
                _ = attempt(|| future.set(None));
            }
        }
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let polled = attempt(|| {
            let polled = match future.as_mut().as_pin_mut() {
                Some(future) => future.poll(context),
                None => Poll::Pending,
            };
            if polled.is_ready() {
                future.set(None);
            }
            polled
        });
        match polled {
            Ok(polled) => polled.map(Ok),
            // It is never polled again, so that nobody sees what the panic left broken.
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// A panic as the hook sees it.
struct Seen {
    words: String,
    location: String,
}

thread_local! {
    /// The panics of the innermost attempt on this thread. `None` outside of any: nobody would ask.
    static SEEN: Cell<Option<Vec<Seen>>> = const { Cell::new(None) };
}

/// Does this, and gives a panic in words.
pub(super) fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = now_seen(Some(Vec::new()));
    let result = catch_unwind(AssertUnwindSafe(work));
    let seen = now_seen(outer).unwrap_or_default();
    result.map_err(|panic| {
        let words = words_of(panic.as_ref());
        // There can be others, which were caught before they came here: this one has these words.
        match seen.iter().rfind(|seen| seen.words == words) {
            Some(Seen { location, .. }) => format!("panicked at {location}: {words}"),
            None => format!("panicked: {words}"),
        }
    })
}

/// Puts this in the place of what was seen. A thread that ends sees nothing any more.
fn now_seen(seen: Option<Vec<Seen>>) -> Option<Vec<Seen>> {
    SEEN.try_with(|cell| cell.replace(seen)).ok().flatten()
}

/// Hands over to [`attempt`] where a panic was: only the hook knows.
fn note(panic: &PanicHookInfo<'_>) {
    let Some(mut seen) = now_seen(None) else {
        return;
    };
    if let Some(location) = panic.location() {
        seen.push(Seen {
            words: words_of(panic.payload()).to_owned(),
            location: location.to_string(),
        });
    }
    now_seen(Some(seen));
}

/// From here on, a panic is an event in the log, and no text beside it.
pub(crate) fn log() {
    std::panic::set_hook(Box::new(|panic| {
        note(panic);
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

/// As [`log`], for tests, which all share one hook: the text stays as well, for a test that fails.
#[cfg(test)]
pub(super) fn log_in_tests() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let shown = std::panic::take_hook();
        log();
        let logged = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            logged(panic);
            shown(panic);
        }));
    });
}

#[cfg(test)]
mod tests;
