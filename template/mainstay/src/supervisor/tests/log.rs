//! The log of a failure.

use tracing_subscriber::fmt;

use super::*;
use crate::panics;
use crate::tests::{Page, under};

/// The lines that this work logs. It runs on this thread, in a runtime of its own.
fn lines_of<F: Future>(work: impl FnOnce() -> F) -> Vec<String> {
    let page = Page::default();
    let format = fmt::layer().with_level(false).with_target(false);
    let format = format.without_time().with_ansi(false);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    under(format.with_writer(page.clone()), || {
        runtime.block_on(work());
    });
    page.text().lines().map(str::to_owned).collect()
}

#[test]
fn panic_is_logged_with_task_message_and_location() {
    panics::log_in_tests();
    let mut error = String::new();
    let mut line = 0;

    let lines = lines_of(async || {
        let supervisor = Supervisor::new();
        let recorder = supervisor.task("recorder").restart(Restart::Never);
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
fn repeated_failure_is_logged_ever_less_often_and_at_its_end() {
    let lines = lines_of(async || {
        let supervisor = Supervisor::new();
        let run = numbered(|run| ready(if run < 7 { Err("no disk") } else { Ok(()) }));
        supervisor.every("recorder", SECOND).run(run).unwrap();
        sleep(SECOND * 10).await;
    });

    let failed = "task failed task=\"recorder\" error=\"no disk\" failures=";
    let failed = [1, 2, 4].map(|failures| format!("{failed}{failures}"));
    let recovered = "task recovered task=\"recorder\"".to_owned();
    assert_eq!(lines, [failed.as_slice(), &[recovered]].concat());
}

#[test]
fn one_shot_failure_is_logged() {
    panics::log_in_tests();

    let lines = lines_of(async || {
        let supervisor = Supervisor::new();
        supervisor.spawn("errs", ready(Err("no disk"))).unwrap();
        let panics_itself = async { panics("in its run") };
        supervisor.spawn("panics", panics_itself).unwrap();
        assert!(supervisor.stop(SECOND).await.is_empty());
    });

    let failures = lines.iter().filter(|line| line.starts_with("task failed"));
    let failures: Vec<_> = failures.collect();
    assert_eq!(failures[0], "task failed task=\"errs\" error=\"no disk\"");
    let panicked = failures[1].starts_with("task failed task=\"panics\"");
    assert!(panicked && failures[1].ends_with(": in its run\""));
}
