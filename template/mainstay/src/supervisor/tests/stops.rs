//! How tasks end when the service stops.

use super::*;

/// A task that takes some time to stop, and records it.
fn slow_to_stop(
    journal: &Journal,
    name: &'static str,
    time: Duration,
) -> impl Fn(Context) -> super::super::context::Run + Send + Sync + 'static {
    let journal = journal.clone();
    move |context| {
        let journal = journal.clone();
        Box::pin(async move {
            context.cancelled().await;
            journal.note(format!("{name} is cancelled"));
            sleep(time).await;
            journal.note(format!("{name} ends"));
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_stop_in_reverse_order_one_at_a_time() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    for name in ["a", "b", "c"] {
        supervisor
            .task(name)
            .run(slow_to_stop(&journal, name, SECOND))
            .unwrap();
    }
    sleep(SECOND).await;

    let left = supervisor.stop(60 * SECOND).await;

    assert!(left.is_empty());
    assert_eq!(
        journal.events(),
        [
            "c is cancelled",
            "c ends",
            "b is cancelled",
            "b ends",
            "a is cancelled",
            "a ends"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn task_that_ignores_cancellation_is_aborted_and_named() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let entered = instances.clone();
    supervisor.task("polite").run(idle).unwrap();
    let run = move |_| {
        let instance = entered.enter();
        async move {
            let _instance = instance;
            std::future::pending::<()>().await;
        }
    };
    supervisor
        .task("stubborn")
        .stop_within(3 * SECOND)
        .run(run)
        .unwrap();
    sleep(SECOND).await;

    let began = Instant::now();
    let left = supervisor.stop(60 * SECOND).await;

    assert_eq!(left, ["stubborn"]);
    assert_eq!(began.elapsed(), 3 * SECOND);
    assert_eq!(instances.now(), 0, "its destructors ran");
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_a_periodic_run_or_cancels_it() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let every = |name| supervisor.every(name, SECOND).at_start();
    let run = || {
        let entered = instances.clone();
        move |_| {
            let instance = entered.enter();
            async move {
                let _instance = instance;
                std::future::pending::<()>().await;
            }
        }
    };
    let waits = every("waits").stop_within(3 * SECOND);
    waits.run(run()).unwrap();
    every("cancels").cancel_on_stop().run(run()).unwrap();
    sleep(SECOND).await;
    assert_eq!(instances.now(), 2);

    let began = Instant::now();
    let left = supervisor.stop(60 * SECOND).await;

    assert_eq!(left, ["waits"]);
    assert_eq!(
        began.elapsed(),
        3 * SECOND,
        "the stop waits for that one alone"
    );
    assert_eq!(instances.now(), 0, "its destructors ran");
}

#[tokio::test(start_paused = true)]
async fn stop_keeps_its_total_budget() {
    let supervisor = Supervisor::new();
    for name in ["a", "b", "c"] {
        let run = |_| async { std::future::pending::<()>().await };
        supervisor
            .task(name)
            .stop_within(5 * SECOND)
            .run(run)
            .unwrap();
    }
    let forever = async { std::future::pending::<()>().await };
    supervisor.spawn("shot", forever).unwrap();
    sleep(SECOND).await;

    let began = Instant::now();
    let left = supervisor.stop(7 * SECOND).await;

    assert_eq!(left, ["c", "b", "a", "shot"]);
    assert!(
        began.elapsed() <= 7 * SECOND + Duration::from_millis(1),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn failing_task_does_not_delay_the_stop_of_others() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    supervisor
        .task("first")
        .run(slow_to_stop(&journal, "first", SECOND))
        .unwrap();
    let fails = |context: Context| async move {
        context.cancelled().await;
        Err("could not flush")
    };
    supervisor.task("fails").run(fails).unwrap();
    let collapses = |context: Context| async move {
        context.cancelled().await;
        panics("on the way out");
    };
    supervisor.task("panics").run(collapses).unwrap();
    sleep(SECOND).await;

    assert!(supervisor.stop(60 * SECOND).await.is_empty());

    assert_eq!(journal.events(), ["first is cancelled", "first ends"]);
    let error = |name| status(&supervisor, name).last_error;
    assert_eq!(error("fails").as_deref(), Some("could not flush"));
    let panic = error("panics").unwrap();
    assert!(panic.ends_with(": on the way out"), "{panic}");
}

#[tokio::test(start_paused = true)]
async fn stop_during_a_backoff_is_immediate_and_final() {
    let supervisor = Supervisor::new();
    let pausing = supervisor
        .task("pausing")
        .backoff(1000 * SECOND, 1000 * SECOND);
    pausing.run(|_| async { Err("at once") }).unwrap();
    reaches(&supervisor, "pausing", State::BackingOff).await;

    let began = Instant::now();
    assert!(supervisor.stop(60 * SECOND).await.is_empty());
    assert!(
        began.elapsed() < Duration::from_millis(10),
        "{:?}",
        began.elapsed()
    );

    sleep(5000 * SECOND).await;
    let status = status(&supervisor, "pausing");
    assert_eq!((status.state, status.runs), (State::Stopped, 1));
}

#[tokio::test(start_paused = true)]
async fn task_that_fails_during_the_stop_is_not_restarted() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let fails_later = |_| async {
        sleep(2 * SECOND).await;
        Err("in the middle of it")
    };
    supervisor.task("early").run(fails_later).unwrap();
    supervisor
        .task("late")
        .run(slow_to_stop(&journal, "late", 10 * SECOND))
        .unwrap();
    sleep(SECOND).await;

    supervisor.stop(60 * SECOND).await;

    assert_eq!(status(&supervisor, "early").runs, 1);
    assert_eq!(
        status(&supervisor, "early").last_error.as_deref(),
        Some("in the middle of it")
    );
}

#[tokio::test(start_paused = true)]
async fn spawn_after_the_stop_began_is_refused() {
    let supervisor = Supervisor::new();
    supervisor.stop(SECOND).await;

    let refused = supervisor.task("late").run(idle).unwrap_err();
    assert_eq!(refused, SpawnError::Stopping("late".into()));
    let refused = supervisor.spawn("late", async {}).unwrap_err();
    assert_eq!(refused, SpawnError::Stopping("late".into()));
}

#[tokio::test(start_paused = true)]
async fn failed_start_leaves_earlier_tasks_to_the_stop() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    // As a service does: each task waits for the one before, and the first failure ends the start.
    let start = async {
        supervisor
            .task("a")
            .run(slow_to_stop(&journal, "a", SECOND))
            .unwrap();
        let b = supervisor
            .task("b")
            .run(|_| async { Err("no such queue") })
            .unwrap();
        b.started(10 * SECOND).await?;
        supervisor
            .task("c")
            .run(slow_to_stop(&journal, "c", SECOND))
            .unwrap();
        Ok::<_, SpawnError>(())
    };

    let error = start.await.unwrap_err().to_string();
    supervisor.stop(60 * SECOND).await;

    assert_eq!(error, "the task \"b\" did not start: no such queue");
    assert_eq!(journal.events(), ["a is cancelled", "a ends"]);
    assert_eq!(supervisor.statuses().len(), 2, "c was never started");
}

#[tokio::test(start_paused = true)]
async fn started_waits_for_the_task_within_its_limit() {
    let supervisor = Supervisor::new();
    let slow = |context: Context| async move {
        sleep(3 * SECOND).await;
        context.started();
        context.cancelled().await;
    };
    let slow = supervisor.task("slow").run(slow).unwrap();

    let error = slow.started(2 * SECOND).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the task \"slow\" did not start: it took longer than 2s"
    );
    slow.started(2 * SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn started_returns_when_the_task_is_stopped() {
    let supervisor = Supervisor::new();
    let running = supervisor.task("running").run(idle).unwrap();
    sleep(SECOND).await;
    let late = supervisor.task("late").run(idle).unwrap();

    let began = Instant::now();
    let starts = async {
        (
            running.started(60 * SECOND).await,
            late.started(60 * SECOND).await,
        )
    };
    let (starts, _) = tokio::join!(starts, supervisor.stop(SECOND));

    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    for start in [starts.0, starts.1] {
        let error = start.unwrap_err().to_string();
        assert!(error.ends_with(" did not start: it was stopped"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_handle_stops_no_task() {
    let supervisor = Supervisor::new();
    drop(supervisor.task("a").run(idle).unwrap());
    let other = supervisor.clone();
    drop(supervisor);

    sleep(SECOND).await;

    assert_eq!(status(&other, "a").state, State::Running);
}
