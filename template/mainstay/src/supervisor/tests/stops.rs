//! How tasks end when the service stops.

use super::*;

#[tokio::test(start_paused = true)]
async fn tasks_stop_in_reverse_order_one_at_a_time() {
    let supervisor = Supervisor::new();
    let journal = Journal::default();
    for name in ["a", "b", "c"] {
        let run = slow_to_stop(&journal, name, SECOND);
        supervisor.task(name).run(run).unwrap();
    }
    sleep(SECOND).await;

    assert!(supervisor.stop(60 * SECOND).await.is_empty());

    let expected = ["c", "b", "a"];
    let expected = expected.map(|name| [format!("{name} is cancelled"), format!("{name} ends")]);
    assert_eq!(journal.events(), expected.concat());
}

#[tokio::test(start_paused = true)]
async fn task_that_ignores_cancellation_is_aborted_and_named() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    supervisor.task("polite").run(idle).unwrap();
    let stubborn = supervisor.task("stubborn").stop_within(3 * SECOND);
    stubborn.run(instances.of(deaf)).unwrap();
    sleep(SECOND).await;

    let (left, took) = timed_stop(&supervisor, 60 * SECOND).await;

    assert_eq!((left, took), (vec!["stubborn".to_owned()], 3 * SECOND));
    assert_eq!(instances.now(), 0, "its destructors ran");
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_a_periodic_run_or_cancels_it() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let every = |name| supervisor.every(name, SECOND).at_start();
    every("waits").run(instances.of(deaf)).unwrap();
    let cancels = every("cancels").cancel_on_stop();
    cancels.run(instances.of(deaf)).unwrap();
    sleep(SECOND).await;
    assert_eq!(instances.now(), 2);

    let (left, took) = timed_stop(&supervisor, 60 * SECOND).await;

    assert_eq!((left, took), (vec!["waits".to_owned()], 5 * SECOND));
    assert_eq!(instances.now(), 0, "their destructors ran");
}

#[tokio::test(start_paused = true)]
async fn failing_task_does_not_delay_the_stop_of_others() {
    let supervisor = Supervisor::new();
    let journal = Journal::default();
    let first = slow_to_stop(&journal, "first", SECOND);
    supervisor.task("first").run(first).unwrap();
    let fails = |context: Context| async move {
        context.cancelled().await;
        Err("could not flush")
    };
    supervisor.task("fails").run(fails).unwrap();
    sleep(SECOND).await;

    assert!(supervisor.stop(60 * SECOND).await.is_empty());

    assert_eq!(journal.events(), ["first is cancelled", "first ends"]);
    assert_eq!(last_error(&supervisor, "fails"), "could not flush");
}

#[tokio::test(start_paused = true)]
async fn stop_during_a_backoff_is_immediate_and_final() {
    let supervisor = Supervisor::new();
    let pause = 1000 * SECOND;
    let pausing = supervisor.task("pausing").backoff(pause, pause);
    pausing.run(fails).unwrap();
    reaches(&supervisor, "pausing", State::BackingOff).await;

    let (left, took) = timed_stop(&supervisor, 60 * SECOND).await;
    assert!(left.is_empty());
    assert!(took < SECOND, "{took:?}");

    sleep(2000 * SECOND).await;
    let status = status(&supervisor, "pausing");
    assert_eq!((status.state, status.runs), (State::Stopped, 1));
}

#[tokio::test(start_paused = true)]
async fn task_that_fails_during_the_stop_is_not_restarted() {
    let supervisor = Supervisor::new();
    // It fails while the stop still waits for the task that was registered after it.
    let fails_later = |_| async {
        sleep(5 * SECOND).await;
        Err("in the middle of it")
    };
    supervisor.task("early").run(fails_later).unwrap();
    let journal = Journal::default();
    let late = slow_to_stop(&journal, "late", 10 * SECOND);
    let task = supervisor.task("late").stop_within(20 * SECOND);
    task.run(late).unwrap();
    sleep(SECOND).await;

    supervisor.stop(60 * SECOND).await;

    assert_eq!(status(&supervisor, "early").runs, 1);
    assert_eq!(last_error(&supervisor, "early"), "in the middle of it");
}

#[tokio::test(start_paused = true)]
async fn spawn_after_the_stop_began_is_refused() {
    let supervisor = Supervisor::new();
    let own = supervisor.clone();
    let run = move |context: Context| {
        let own = own.clone();
        async move {
            context.cancelled().await;
            let refused = own.spawn("late", pending::<()>()).unwrap_err();
            Err(refused)
        }
    };
    supervisor.task("a").run(run).unwrap();
    sleep(SECOND).await;

    assert!(supervisor.stop(10 * SECOND).await.is_empty());

    let refused = supervisor.task("late").run(idle).unwrap_err();
    assert_eq!(refused, SpawnError::Stopping("late".into()));
    assert_eq!(last_error(&supervisor, "a"), refused.to_string());
}

#[tokio::test(start_paused = true)]
async fn failed_start_leaves_earlier_tasks_to_the_stop() {
    let supervisor = Supervisor::new();
    let journal = Journal::default();
    // As a service does: the work that a start waits for precedes the task, and the first failure ends the start.
    let start = async {
        supervisor
            .task("a")
            .run(slow_to_stop(&journal, "a", SECOND))?;
        sleep(SECOND).await;
        Err::<(), _>("b cannot connect")?;
        supervisor.task("b").run(idle)?;
        Ok::<_, crate::Error>(())
    };

    let error = start.await.unwrap_err();
    supervisor.stop(60 * SECOND).await;

    assert_eq!(error.to_string(), "b cannot connect");
    assert_eq!(journal.events(), ["a is cancelled", "a ends"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_supervisor_stops_no_task() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    supervisor.task("a").run(instances.of(idle)).unwrap();
    let instance = instances.enter();
    let work = pending::<()>().map(|()| drop(instance));
    supervisor.spawn("work", work).unwrap();
    sleep(SECOND).await;

    drop(supervisor);
    sleep(SECOND).await;

    assert_eq!(instances.now(), 2);
}
