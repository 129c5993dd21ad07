//! Panics in unusual places, tasks that block, and stops at unusual times. None affects other tasks.

use std::sync::mpsc;

use super::*;

/// An error whose `Display` panics.
struct PanickingError;

impl std::fmt::Display for PanickingError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no message")
    }
}

#[tokio::test(start_paused = true)]
async fn panic_anywhere_in_a_run_is_a_failure() {
    let supervisor = Supervisor::new();
    let no_future = |_| -> Pending<()> { panic!("no future") };
    supervisor.task("make").run(no_future).unwrap();
    let dropped = |_| async {
        let _dropped = PanicsOnDrop;
    };
    supervisor.task("drop").run(dropped).unwrap();
    let error = |_| ready(Err(PanickingError));
    supervisor.task("error").run(error).unwrap();

    for (name, words) in [
        ("make", ": no future"),
        ("drop", ": dropped"),
        ("error", ": no message"),
    ] {
        reaches(&supervisor, name, State::GaveUp).await;
        let status = status(&supervisor, name);
        assert_eq!((status.runs, status.restarts), (6, 5), "{name}");
        let error = status.last_error.unwrap();
        assert!(error.ends_with(words), "{error}");
    }
    assert!(supervisor.stop(SECOND).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn panic_during_the_stop_does_not_delay_others() {
    let supervisor = Supervisor::new();
    let journal = Journal::default();
    let last = slow_to_stop(&journal, "last", SECOND);
    supervisor.task("last").run(last).unwrap();
    let panics_itself = |context: Context| async move {
        context.cancelled().await;
        panics("on the way out");
    };
    supervisor.task("panics").run(panics_itself).unwrap();
    let clings = || async {
        let _clings = PanicsOnDrop;
        pending::<()>().await;
    };
    let task = supervisor.task("clings");
    task.run(move |_| clings()).unwrap();
    supervisor.spawn("shot", clings()).unwrap();
    sleep(SECOND).await;

    assert_eq!(supervisor.stop(10 * SECOND).await, ["clings", "shot"]);

    assert_eq!(journal.events(), ["last is cancelled", "last ends"]);
    let panic = last_error(&supervisor, "panics");
    assert!(panic.ends_with(": on the way out"), "{panic}");
    assert!(supervisor.alive().is_empty(), "{:?}", supervisor.alive());
}

/// In real time, since the task blocks a thread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_does_not_wait_for_a_stuck_task_that_blocks() {
    let supervisor = Supervisor::new();
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let run = move |_| {
        let held = Arc::clone(&held);
        async move {
            _ = held.lock().unwrap().recv_timeout(30 * SECOND);
        }
    };
    let blocks = supervisor.task("blocks").heartbeat(SECOND / 10);
    blocks.stop_within(SECOND / 10).run(run).unwrap();
    while last_error(&supervisor, "blocks").is_empty() {
        sleep(Duration::from_millis(10)).await;
    }

    let (left, took) = timed_stop(&supervisor, 10 * SECOND).await;

    assert_eq!(left, ["blocks"]);
    assert!(took < 5 * SECOND, "{took:?}");
    drop(release);
}

#[tokio::test(start_paused = true)]
async fn stop_deadline_bounds_a_task_an_operator_ended() {
    for order in [Order::Restart, Order::Pause] {
        let supervisor = Supervisor::new();
        let patient = supervisor.task("deaf").stop_within(1000 * SECOND);
        patient.run(deaf).unwrap();
        sleep(SECOND).await;
        supervisor.order("deaf", order).unwrap();
        sleep(SECOND).await;

        let (left, took) = timed_stop(&supervisor, 10 * SECOND).await;

        assert_eq!(left, ["deaf"]);
        assert!(took < 11 * SECOND, "{took:?}");
        assert_eq!(status(&supervisor, "deaf").runs, 1, "nothing comes back");
    }
}

#[tokio::test(start_paused = true)]
async fn task_spawned_just_before_the_stop_does_not_run() {
    let supervisor = Supervisor::new();
    let runs = |_| -> Ready<()> { panic!("it runs") };
    supervisor.task("late").run(runs).unwrap();

    assert!(supervisor.stop(SECOND).await.is_empty());

    let status = status(&supervisor, "late");
    assert_eq!((status.state, status.runs), (State::Stopped, 0));
    assert_eq!(status.last_error, None);
}

#[tokio::test(start_paused = true)]
async fn alive_names_what_the_stop_waits_for() {
    let supervisor = Supervisor::new();
    let journal = Journal::default();
    for name in ["announcer", "recorder"] {
        let slow = slow_to_stop(&journal, name, 2 * SECOND);
        supervisor.task(name).run(slow).unwrap();
    }
    let done = supervisor.task("done").restart(Restart::Never);
    done.run(|_| ready(())).unwrap();
    supervisor.spawn("mail", sleep(2 * SECOND)).unwrap();
    supervisor.spawn("mail", sleep(5 * SECOND)).unwrap();
    supervisor.task("given-up").run(fails).unwrap();
    sleep(SECOND).await;
    let all = ["given-up", "recorder", "announcer", "mail (2)"];
    assert_eq!(supervisor.alive(), all);

    let alive = async {
        sleep(SECOND).await;
        // It is not its turn to stop yet. It ends, and does not run again.
        supervisor.order("announcer", Order::Restart).unwrap();
        sleep(SECOND / 2).await;
        supervisor.alive()
    };
    let (left, alive) = tokio::join!(supervisor.stop(60 * SECOND), alive);

    assert!(left.is_empty());
    assert_eq!(alive, ["recorder", "announcer", "mail"]);
    assert_eq!(status(&supervisor, "announcer").runs, 1);
    assert!(supervisor.alive().is_empty());
}
