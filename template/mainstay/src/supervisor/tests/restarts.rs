//! When a task is restarted, and when it is given up.

use super::*;
use crate::supervisor::policy::{Backoff, History, Policy};

#[tokio::test(start_paused = true)]
async fn always_restarts_after_ok() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let noted = journal.clone();
    let run = move |_| {
        noted.note("run");
        async {}
    };
    supervisor.task("a").run(run).unwrap();

    sleep(SECOND).await;

    assert!(journal.count("run") > 1, "{:?}", journal.events());
    assert_eq!(status(&supervisor, "a").last_error, None);
}

#[tokio::test(start_paused = true)]
async fn on_failure_restarts_after_errors_and_panics_only() {
    let supervisor = Supervisor::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let run = move |_| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0 => Err("an error"),
                1 => panic!("a panic with {}", "words"),
                _ => Ok(()),
            }
        }
    };
    supervisor.task("a").restart_on_failure().run(run).unwrap();

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
    let run = |_| async { panics("once") };
    supervisor.task("a").restart_never().run(run).unwrap();

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
    supervisor.task("a").restart_on_failure().run(run).unwrap();

    reaches(&supervisor, "a", State::BackingOff).await;

    assert_eq!(
        status(&supervisor, "a").last_error.as_deref(),
        Some("cancelled")
    );
}

#[tokio::test(start_paused = true)]
async fn task_is_given_up_after_one_restart_too_many() {
    let supervisor = Supervisor::new();
    supervisor
        .task("a")
        .run(|_| async { Err("again") })
        .unwrap();

    reaches(&supervisor, "a", State::GaveUp).await;

    let status = status(&supervisor, "a");
    assert_eq!((status.restarts, status.runs), (5, 6));
}

#[tokio::test(start_paused = true)]
async fn restarts_outside_the_window_do_not_count() {
    let supervisor = Supervisor::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let run = move |context: Context| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0..5 => {}
                5 => sleep(61 * SECOND).await,
                _ => context.cancelled().await,
            }
            Err::<(), _>("again")
        }
    };
    supervisor.task("a").run(run).unwrap();

    sleep(120 * SECOND).await;

    let status = status(&supervisor, "a");
    assert_eq!(
        (status.state, status.runs, status.restarts),
        (State::Running, 7, 6)
    );
}

#[test]
fn backoff_doubles_up_to_its_limit_with_full_jitter() {
    let backoff = Backoff::default();
    let ceilings: Vec<_> = (1..=5)
        .map(|failures| backoff.ceiling(failures).as_millis())
        .collect();
    assert_eq!(ceilings, [100, 200, 400, 800, 1600]);
    for failures in [9, 10, 33, u32::MAX] {
        assert!(backoff.ceiling(failures) <= Duration::from_secs(30));
    }
    assert_eq!(backoff.ceiling(100), Duration::from_secs(30));

    let pauses: Vec<_> = (0..1000).map(|_| backoff.pause(3)).collect();
    assert!(
        pauses
            .iter()
            .all(|pause| *pause <= Duration::from_millis(400))
    );
    let early = pauses
        .iter()
        .filter(|pause| pause.as_millis() < 200)
        .count();
    assert!(
        (350..650).contains(&early),
        "spread over all of it: {early} of 1000 in the first half"
    );
}

#[tokio::test(start_paused = true)]
async fn backoff_resets_after_a_stable_run() {
    let policy = Policy::default();
    let mut history = History::default();
    for _ in 0..4 {
        history.next(&policy, Duration::ZERO);
    }
    for _ in 0..100 {
        let mut history = History::default();
        history.next(&policy, Duration::ZERO);
        history.next(&policy, Duration::ZERO);
        let pause = history.next(&policy, policy.backoff.stable).unwrap();
        assert!(pause <= policy.backoff.first, "{pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_fail_together_restart_apart() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    for number in 0..10 {
        let noted = journal.clone();
        let runs = AtomicUsize::new(0);
        let run = move |context: Context| {
            let first = runs.fetch_add(1, Ordering::SeqCst) == 0;
            if !first {
                noted.note("back");
            }
            async move {
                if !first {
                    context.cancelled().await;
                }
                Err::<(), _>("together")
            }
        };
        let long = (10 * SECOND, 10 * SECOND);
        supervisor
            .task(&format!("task-{number}"))
            .backoff(long.0, long.1)
            .run(run)
            .unwrap();
    }

    sleep(30 * SECOND).await;

    let mut times = journal.times();
    assert_eq!(times.len(), 10);
    times.dedup_by_key(|time| time.as_millis() / 10);
    assert!(times.len() >= 8, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn siblings_run_during_a_backoff() {
    let supervisor = Supervisor::new();
    let failing = supervisor.task("failing").backoff(60 * SECOND, 60 * SECOND);
    failing.run(|_| async { Err("at once") }).unwrap();
    let journal = Journal::new();
    let noted = journal.clone();
    let run = move |_| {
        let noted = noted.clone();
        async move {
            for _ in 0..10_000 {
                sleep(Duration::from_millis(100)).await;
                noted.note("works");
            }
        }
    };
    supervisor.task("working").run(run).unwrap();

    reaches(&supervisor, "failing", State::BackingOff).await;
    let before = journal.count("works");
    sleep(SECOND).await;

    assert!(journal.count("works") >= before + 9);
}

#[tokio::test(start_paused = true)]
async fn critical_task_that_is_given_up_is_reported_by_name() {
    let supervisor = Supervisor::new();
    supervisor.task("fine").critical().run(idle).unwrap();
    supervisor
        .task("degraded")
        .run(|_| async { Err("again") })
        .unwrap();
    reaches(&supervisor, "degraded", State::GaveUp).await;
    let is_reported = supervisor.0.gave_up.borrow().is_some();
    assert!(!is_reported, "it is not critical");

    supervisor
        .task("broken")
        .critical()
        .run(|_| async { Err("again") })
        .unwrap();

    assert_eq!(&*supervisor.gave_up().await, "broken");
}

#[tokio::test(start_paused = true)]
async fn task_without_heartbeat_is_aborted_and_restarted() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let entered = instances.clone();
    let run = move |context: Context| {
        let instance = entered.enter();
        async move {
            let _instance = instance;
            for _ in 0..3 {
                context.beat();
                sleep(4 * SECOND).await;
            }
            std::future::pending::<()>().await;
        }
    };
    supervisor
        .task("stuck")
        .heartbeat(5 * SECOND)
        .run(run)
        .unwrap();

    sleep(12 * SECOND).await;
    assert_eq!(status(&supervisor, "stuck").restarts, 0, "it beats");
    sleep(2 * SECOND).await;

    let status = status(&supervisor, "stuck");
    assert_eq!((status.restarts, status.runs), (1, 2));
    assert_eq!(status.last_error.as_deref(), Some("no heartbeat for 5s"));
    assert!(status.last_beat.is_some());
    assert_eq!(
        (instances.now(), instances.most()),
        (1, 1),
        "the first run ended before the second began"
    );
}
