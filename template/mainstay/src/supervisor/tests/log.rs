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

#[test]
fn panic_is_logged_with_task_message_and_location() {
    panics::log_in_tests();
    let mut error = String::new();
    let mut line = 0;

    let lines = Lines::of(async || {
        let supervisor = Supervisor::new();
        let recorder = supervisor.task("recorder").restart_never();
        line = line!() + 1;
        recorder.run(|_| async { panics("no disk") }).unwrap();
        reaches(&supervisor, "recorder", State::Stopped).await;
        error = last_error(&supervisor, "recorder");
    });

    let place = format!("panicked at {}:{line}:", file!());
    assert!(error.starts_with(&place), "{error}");
    assert!(error.ends_with(": no disk"), "{error}");
    let logged = format!("task failed task=\"recorder\" error=\"{error}\"");
    assert!(lines.contains(&logged), "{lines:?}");
}

#[test]
fn repeated_failure_is_logged_once_a_minute_and_at_its_end() {
    let lines = Lines::of(async || {
        let supervisor = Supervisor::new();
        let runs = AtomicUsize::new(0);
        let run = move |_| {
            ready(match runs.fetch_add(1, Ordering::SeqCst) {
                0..100 => Err("no disk"),
                100 => Err("no room"),
                _ => Ok(()),
            })
        };
        supervisor.every("recorder", SECOND).run(run).unwrap();
        sleep(SECOND * 105).await;
    });

    let failed = |words: &str| format!("task failed task=\"recorder\" error=\"{words}\"");
    let recovered = "task recovered task=\"recorder\"".to_owned();
    let expected = ["no disk", "no disk", "no room"].map(failed);
    assert_eq!(lines, [expected.as_slice(), &[recovered]].concat());
}

#[test]
fn one_shot_failure_is_logged() {
    panics::log_in_tests();

    let lines = Lines::of(async || {
        let supervisor = Supervisor::new();
        supervisor.spawn("errs", ready(Err("no disk"))).unwrap();
        let panics_itself = async { panics("in its run") };
        supervisor.spawn("panics", panics_itself).unwrap();
        let speechless = ready(Err(PanickingError));
        supervisor.spawn("speechless", speechless).unwrap();
        assert!(supervisor.stop(SECOND).await.is_empty());
    });

    let mut failures = lines.iter().filter(|line| line.starts_with("task failed"));
    for (name, words) in [
        ("errs", "no disk"),
        ("panics", "in its run"),
        ("speechless", "no message"),
    ] {
        let line = failures.next().unwrap();
        let start = format!("task failed task=\"{name}\" error=\"");
        assert!(line.starts_with(&start), "{line}");
        assert!(line.ends_with(&format!("{words}\"")), "{line}");
    }
}
