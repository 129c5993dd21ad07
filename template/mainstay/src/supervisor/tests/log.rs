//! The log of a failure.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context as Of, Layer, SubscriberExt};
use tracing_subscriber::registry;

use super::*;
use crate::panics;

/// Records every event of this thread, as `message field=value field=value`.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Of<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let line = format!("{}{}", line.message, line.fields);
        self.0.lock().unwrap().push(line);
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => _ = write!(self.fields, " {name}={value:?}"),
        }
    }
}

impl Lines {
    /// The lines that this work logs. It runs on this thread, in a runtime of its own.
    fn of<F: Future>(work: impl FnOnce() -> F) -> Vec<String> {
        let lines = Self::default();
        // With a single subscriber, `tracing` caches for all threads whether an event is enabled, and may
        // ask a thread that has no subscriber.
        let _second = Dispatch::new(registry());
        let subscriber = registry().with(lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap()
                .block_on(work())
        });
        lines.0.lock().unwrap().clone()
    }
}

/// The events about failed tasks.
fn failures(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .filter(|line| line.starts_with("task failed"))
        .cloned()
        .collect()
}

#[test]
fn panic_is_logged_with_task_message_and_location() {
    panics::log_in_tests();
    let mut known = None;
    let mut line = 0;

    let lines = Lines::of(async || {
        let supervisor = Supervisor::new();
        supervisor.task("sibling").run(idle).unwrap();
        let recorder = supervisor.task("recorder").restart_never();
        line = line!() + 1;
        recorder.run(|_| async { panics("no disk") }).unwrap();
        reaches(&supervisor, "recorder", State::Stopped).await;
        assert_eq!(status(&supervisor, "sibling").state, State::Running);
        known = status(&supervisor, "recorder").last_error;
    });

    let place = format!("panicked at {}:{line}:", file!());
    let failures = failures(&lines);
    assert_eq!(failures.len(), 1, "{lines:?}");
    let told = format!("task failed task=\"recorder\" error=\"{place}");
    assert!(failures[0].starts_with(&told), "{failures:?}");
    assert!(failures[0].ends_with(": no disk\""), "{failures:?}");
    let error = known.unwrap();
    assert!(error.starts_with(&place), "{error}");
    assert!(error.ends_with(": no disk"), "{error}");
}

#[test]
fn repeated_failure_is_logged_once_a_minute_and_at_its_end() {
    let lines = Lines::of(async || {
        let supervisor = Supervisor::new();
        let runs = Arc::new(Mutex::new(0));
        let run = move |_| {
            let mut runs = runs.lock().unwrap();
            *runs += 1;
            let failure = match *runs {
                1..=100 => Err("no disk"),
                101 => Err("no room"),
                103 => Err("no luck"),
                _ => Ok(()),
            };
            async move { failure }
        };
        supervisor.every("recorder", SECOND).run(run).unwrap();
        sleep(SECOND * 105).await;
        assert!(supervisor.stop(SECOND).await.is_empty());
    });

    let told = |words: &str| format!("task failed task=\"recorder\" error=\"{words}\"");
    let expected = [
        told("no disk"),
        told("no disk"),
        told("no room"),
        "task recovered task=\"recorder\" failures=101".to_owned(),
        told("no luck"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn one_shot_failure_is_logged() {
    panics::log_in_tests();

    let lines = Lines::of(async || {
        let supervisor = Supervisor::new();
        let errs = async { Err("no disk") };
        supervisor.spawn("errs", errs).unwrap();
        let panics_itself = async { panics("in its run") };
        supervisor.spawn("panics", panics_itself).unwrap();
        let speechless = async { Err(PanickingError) };
        supervisor.spawn("speechless", speechless).unwrap();
        let clings = PanicsOnDrop("on the way out");
        supervisor.spawn("clings", clings).unwrap();
        assert!(supervisor.stop(SECOND).await.is_empty());
    });

    let failures = failures(&lines);
    assert_eq!(failures.len(), 4, "{lines:?}");
    for (failure, (name, words)) in failures.iter().zip([
        ("errs", "no disk"),
        ("panics", "in its run"),
        ("speechless", "no message"),
        ("clings", "on the way out"),
    ]) {
        let told = format!("task failed task=\"{name}\" error=\"");
        assert!(failure.starts_with(&told), "{failures:?}");
        assert!(failure.ends_with(&format!("{words}\"")), "{failures:?}");
    }
}
