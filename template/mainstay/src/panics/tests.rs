//! Which panic is told, and where it was.

use std::future::poll_fn;
use std::panic::{panic_any, resume_unwind};
use std::pin::pin;
use std::task::Waker;

use super::*;

/// Whether this is said of a panic with these words, in this line.
#[track_caller]
fn assert_said(said: Result<(), String>, line: u32, words: &str) {
    let said = said.unwrap_err();
    let place = format!("panicked at {}:{line}:", file!());
    assert!(said.starts_with(&place), "{said}, and not {place}");
    assert!(said.ends_with(&format!(": {words}")), "{said}");
}

/// Does something when it is dropped.
struct WhenDropped<F: FnMut()>(F);

impl<F: FnMut()> Drop for WhenDropped<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// The outcome of a future that is ready at once.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready"),
    }
}

#[test]
fn a_panic_is_told_with_its_place_and_its_words() {
    log_in_tests();

    let (line, work) = (line!(), async { panic!("words") });
    assert_said(at_once(caught(work)), line, "words");

    let (line, work) = (line!(), async { panic!("{} words", 2) });
    assert_said(at_once(caught(work)), line, "2 words");

    let (line, work) = (line!(), async { panic_any(7) });
    assert_said(at_once(caught(work)), line, "without words");
}

#[test]
fn panic_unseen_by_the_hook_has_its_message_alone() {
    log_in_tests();
    let seen = at_once(caught(async { panic!("words") }));
    assert!(seen.unwrap_err().starts_with::<&str>("panicked at "));

    let unseen = at_once(caught(async { resume_unwind(Box::new("words")) }));

    assert_eq!(unseen, Err::<(), _>("panicked: words".to_owned()));
}

#[test]
fn panic_is_not_mistaken_for_an_earlier_or_inner_one() {
    log_in_tests();
    let (mut inner, mut inner_line) = (None, 0);
    let mut outer_line = 0;

    let outer = at_once(caught(async {
        _ = catch_unwind(|| panic!("outer"));
        // Happens while the outer panic takes down the stack.
        let _dropped = WhenDropped(|| {
            _ = catch_unwind(|| panic!("by others"));
            let (line, work) = (line!(), async { panic!("inner") });
            inner_line = line;
            inner = Some(at_once(caught(work)));
        });
        let (line, panic) = (line!(), || panic!("outer"));
        outer_line = line;
        panic();
    }));

    assert_said(outer, outer_line, "outer");
    assert_said(inner.unwrap(), inner_line, "inner");
}

#[test]
fn a_future_that_panics_when_it_is_dropped_is_caught_as_well() {
    log_in_tests();
    let (line, panic) = (line!(), || panic!("on the way out"));
    let dropped = WhenDropped(panic);
    // It ends well, and is dropped with all that it holds.
    let work = poll_fn(move |_| {
        _ = &dropped;
        Poll::Ready(())
    });

    assert_said(at_once(caught(work)), line, "on the way out");
}

#[test]
fn a_future_that_is_given_up_is_dropped_without_a_panic() {
    let dropped = WhenDropped(|| panic!("nobody waits"));
    let mut given_up = Box::pin(caught(async move {
        _ = &dropped;
        std::future::pending::<()>().await;
    }));
    let mut context = Context::from_waker(Waker::noop());
    assert!(given_up.as_mut().poll(&mut context).is_pending());

    drop(given_up);
}
