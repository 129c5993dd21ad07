//! When a task is restarted, and when it is given up.

use super::*;
use crate::supervisor::policy::{History, Policy, STABLE};

#[tokio::test(start_paused = true)]
async fn always_restarts_after_ok() {
    let supervisor = Supervisor::new();
    supervisor.task("a").run(|_| ready(())).unwrap();

    sleep(SECOND).await;

    let status = status(&supervisor, "a");
    assert!(status.runs > 1, "{status:?}");
    assert_eq!(status.last_error, None);
}

#[tokio::test(start_paused = true)]
async fn on_failure_restarts_after_errors_and_panics_only() {
    let supervisor = Supervisor::new();
    let run = numbered(async |run| match run {
        0 => Err("an error"),
        1 => panic!("a panic with {}", "words"),
        _ => Ok(()),
    });
    let task = supervisor.task("a").restart(Restart::OnFailure);
    task.run(run).unwrap();

    reaches(&supervisor, "a", State::Stopped).await;

    let status = status(&supervisor, "a");
    assert_eq!((status.runs, status.restarts), (3, 2));
    let error = status.last_error.unwrap();
    assert!(error.ends_with(": a panic with words"), "{error}");
    assert!(status.last_error_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn never_restarts_after_a_panic_and_siblings_run_on() {
    let supervisor = Supervisor::new();
    supervisor.task("sibling").run(idle).unwrap();
    let task = supervisor.task("a").restart(Restart::Never);
    task.run(|_| async { panics("once") }).unwrap();

    reaches(&supervisor, "a", State::Stopped).await;
    sleep(60 * SECOND).await;

    assert_eq!(status(&supervisor, "a").runs, 1);
    let sibling = status(&supervisor, "sibling");
    assert_eq!((sibling.state, sibling.runs), (State::Running, 1));
}

#[tokio::test(start_paused = true)]
async fn error_of_a_self_cancelled_run_is_a_failure() {
    let supervisor = Supervisor::new();
    let run = |_| async {
        let own = CancellationToken::new();
        own.cancel();
        own.cancelled().await;
        Err("cancelled")
    };
    let task = supervisor.task("a").restart(Restart::OnFailure);
    task.run(run).unwrap();

    reaches(&supervisor, "a", State::BackingOff).await;

    assert_eq!(last_error(&supervisor, "a"), "cancelled");
}

#[tokio::test(start_paused = true)]
async fn task_is_given_up_after_one_restart_too_many() {
    let supervisor = Supervisor::new();
    supervisor.task("a").run(fails).unwrap();

    reaches(&supervisor, "a", State::GaveUp).await;
    let given_up = status(&supervisor, "a");
    assert_eq!((given_up.restarts, given_up.runs), (5, 6));

    supervisor.order("a", Order::Restart).unwrap();
    sleep(Duration::from_millis(1)).await;
    reaches(&supervisor, "a", State::GaveUp).await;
    let runs = status(&supervisor, "a").runs;
    assert_eq!(runs, 12, "earlier failures do not count after an order");
}

#[tokio::test(start_paused = true)]
async fn restarts_outside_the_window_do_not_count() {
    let policy = Policy::default();
    let mut history = History::default();
    let mut restarts = || history.next(&policy, Duration::ZERO).is_some();
    assert!((0..5).all(|_| restarts()));
    assert!(!restarts(), "the sixth within the window");

    sleep(policy.window).await;

    assert!((0..5).all(|_| restarts()));
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_up_to_its_limit_with_full_jitter() {
    let policy = Policy::default();
    for (failures, millis) in [
        (1, 100),
        (2, 200),
        (3, 400),
        (9, 25_600),
        (10, 30_000),
        (33, 30_000),
        (u32::MAX, 30_000),
    ] {
        let ceiling = policy.ceiling(failures).as_millis();
        assert_eq!(ceiling, millis, "after {failures} failures");
    }

    let third_pause = |_| {
        let mut history = History::default();
        let pauses = [(); 3].map(|()| history.next(&policy, Duration::ZERO));
        pauses[2].unwrap().as_millis()
    };
    let pauses: Vec<_> = (0..1000).map(third_pause).collect();
    assert!(pauses.iter().all(|pause| *pause <= 400));
    let early = pauses.iter().filter(|pause| **pause < 200).count();
    assert!((350..650).contains(&early), "{early} of 1000 are early");
}

#[tokio::test(start_paused = true)]
async fn backoff_resets_after_a_stable_run() {
    let policy = Policy::default();
    for _ in 0..100 {
        let mut history = History::default();
        history.next(&policy, Duration::ZERO);
        history.next(&policy, Duration::ZERO);
        let pause = history.next(&policy, STABLE).unwrap();
        assert!(pause <= policy.first_pause, "{pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_fail_together_restart_apart() {
    let policy = Policy {
        first_pause: 10 * SECOND,
        ..Policy::default()
    };
    let pause = |_| History::default().next(&policy, Duration::ZERO);
    let mut pauses: Vec<_> = (0..10).map(pause).map(Option::unwrap).collect();

    pauses.sort();
    pauses.dedup_by_key(|pause| pause.as_millis() / 10);

    assert!(pauses.len() >= 8, "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn siblings_run_during_a_backoff() {
    let supervisor = Supervisor::new();
    let failing = supervisor.task("failing").backoff(60 * SECOND, 60 * SECOND);
    failing.run(fails).unwrap();
    reaches(&supervisor, "failing", State::BackingOff).await;
    let working = supervisor.every("working", SECOND / 10);
    working.run(|_| ready(())).unwrap();

    sleep(SECOND).await;

    assert!(status(&supervisor, "working").runs >= 9);
}

#[tokio::test(start_paused = true)]
async fn critical_task_that_is_given_up_is_reported_by_name() {
    let supervisor = Supervisor::new();
    supervisor.task("fine").critical().run(idle).unwrap();
    supervisor.task("degraded").run(fails).unwrap();
    reaches(&supervisor, "degraded", State::GaveUp).await;
    let is_reported = supervisor.critical_failure.initialized();
    assert!(!is_reported, "it is not critical");

    supervisor.task("broken").critical().run(fails).unwrap();

    assert_eq!(&*supervisor.critical_failure().await, "broken");
}

#[tokio::test(start_paused = true)]
async fn task_without_heartbeat_is_aborted_and_restarted() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let run = instances.of(|context| async move {
        for _ in 0..3 {
            context.beat();
            sleep(4 * SECOND).await;
        }
        pending::<()>().await;
    });
    let stuck = supervisor.task("stuck").heartbeat(5 * SECOND);
    stuck.run(run).unwrap();

    sleep(12 * SECOND).await;
    assert_eq!(status(&supervisor, "stuck").restarts, 0, "it beats");
    sleep(2 * SECOND).await;

    let status = status(&supervisor, "stuck");
    assert_eq!((status.restarts, status.runs), (1, 2));
    assert_eq!(status.last_error.as_deref(), Some("no heartbeat for 5s"));
    assert!(status.last_beat.is_some());
    let instances = (instances.now(), instances.most());
    assert_eq!(instances, (1, 1), "the first run ended before the second");
}
