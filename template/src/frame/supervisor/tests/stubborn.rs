//! What panics where nobody expects it.

use super::*;

/// Ends each time with this failure, and is given up in the end.
async fn fails_with(supervisor: &Supervisor, words: &str) {
    reaches(supervisor, "a", State::GaveUp).await;
    let status = status(supervisor, "a");
    assert_eq!((status.runs, status.restarts), (6, 5));
    let error = status.last_error.unwrap();
    assert!(error.ends_with(&format!(": {words}")), "{error}");
    assert!(supervisor.stop(SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_function_that_panics_before_there_is_a_future_is_a_failure() {
    let supervisor = Supervisor::new();
    let run = |_| -> std::future::Pending<()> { panic!("no future") };
    supervisor.task("a").run(run).unwrap();

    fails_with(&supervisor, "no future").await;
}

#[tokio::test(start_paused = true)]
async fn a_future_that_panics_when_it_is_dropped_is_a_failure() {
    let supervisor = Supervisor::new();
    let run = |_| Clings("not yet");
    supervisor.task("a").run(run).unwrap();

    fails_with(&supervisor, "not yet").await;
}

#[tokio::test(start_paused = true)]
async fn an_error_that_panics_when_it_is_shown_is_a_failure() {
    let supervisor = Supervisor::new();
    let run = |_| async { Err(Speechless) };
    supervisor.task("a").run(run).unwrap();

    fails_with(&supervisor, "no words for it").await;
}

#[tokio::test(start_paused = true)]
async fn runs_of_a_periodic_task_that_panic_in_any_way_are_noted_and_the_next_one_comes() {
    let supervisor = Supervisor::new();
    let runs = AtomicUsize::new(0);
    let run = move |_| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        assert!(run != 0, "no future");
        let clings = Clings("not yet");
        async move {
            if run == 1 {
                let _clings = clings;
                std::future::pending().await
            } else {
                std::mem::forget(clings);
                Err(Speechless)
            }
        }
    };
    let every = supervisor.every("a", 10 * SECOND).within(SECOND);
    every.run(run).unwrap();
    // Each run has come, and has had its time.
    sleep(2 * SECOND).await;

    for (runs, words) in [
        (1, ": no future"),
        (2, "took longer than 1s"),
        (3, ": no words for it"),
    ] {
        sleep(10 * SECOND).await;
        let status = status(&supervisor, "a");
        assert_eq!((status.runs, status.restarts), (runs, 0), "{words}");
        let error = status.last_error.unwrap();
        assert!(error.ends_with(words), "{error}");
    }
}
