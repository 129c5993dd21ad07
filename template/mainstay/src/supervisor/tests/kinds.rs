//! Periodic tasks and one-shots.

use super::*;

#[tokio::test(start_paused = true)]
async fn periodic_task_runs_once_per_interval() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    for (name, at_start) in [("later", false), ("now", true)] {
        let noted = journal.clone();
        let run = move |_| {
            noted.note(name);
            async {}
        };
        let every = supervisor.every(name, 10 * SECOND);
        let every = if at_start { every.at_start() } else { every };
        every.run(run).unwrap();
    }

    sleep(35 * SECOND).await;

    assert_eq!((journal.count("later"), journal.count("now")), (3, 4));
    let status = status(&supervisor, "later");
    assert_eq!((status.runs, status.restarts), (3, 0));
    assert!(status.next_run.is_some());
}

#[tokio::test(start_paused = true)]
async fn periodic_task_skips_missed_ticks_and_never_overlaps() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let journal = Journal::new();
    let (entered, noted) = (instances.clone(), journal.clone());
    let run = move |_| {
        let instance = entered.enter();
        noted.note("run");
        async move {
            let _instance = instance;
            sleep(25 * SECOND).await;
        }
    };
    supervisor.every("slow", 10 * SECOND).run(run).unwrap();

    sleep(105 * SECOND).await;

    assert_eq!(instances.most(), 1);
    let times: Vec<_> = journal.times().iter().map(Duration::as_secs).collect();
    assert_eq!(times, [10, 40, 70, 100], "always on a tick");
}

#[tokio::test(start_paused = true)]
async fn periodic_task_runs_again_after_a_failed_or_late_run() {
    let supervisor = Supervisor::new();
    let runs = AtomicUsize::new(0);
    let run = move |_| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                0 => panic!("the first"),
                1 => std::future::pending().await,
                _ => Err("the third"),
            }
        }
    };
    supervisor
        .every("a", 10 * SECOND)
        .timeout(5 * SECOND)
        .run(run)
        .unwrap();
    let error = || status(&supervisor, "a").last_error;

    sleep(11 * SECOND).await;
    let panic = error().unwrap();
    assert!(panic.ends_with(": the first"), "{panic}");
    sleep(15 * SECOND).await;
    assert_eq!(error().as_deref(), Some("took longer than 5s"));
    sleep(5 * SECOND).await;
    assert_eq!(error().as_deref(), Some("the third"));
    assert_eq!(status(&supervisor, "a").state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_a_run_within_its_limit() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let noted = journal.clone();
    let run = move |_| {
        noted.note("run");
        async {}
    };
    supervisor
        .every("a", 10 * SECOND)
        .jitter(5 * SECOND)
        .run(run)
        .unwrap();

    sleep(500 * SECOND).await;

    let late: Vec<_> = journal
        .times()
        .iter()
        .map(|time| time.as_millis() % 10_000)
        .collect();
    assert!(late.len() >= 49, "{late:?}");
    assert!(late.iter().all(|late| *late <= 5_001), "{late:?}");
    assert!(late.iter().any(|late| *late > 1_000), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_one_shots() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let noted = journal.clone();
    let work = async move {
        sleep(3 * SECOND).await;
        noted.note("done");
    };
    supervisor.spawn("work", work).unwrap();
    supervisor
        .spawn("fails", async { Err("and is logged") })
        .unwrap();
    supervisor
        .spawn("panics", async { panics("and nothing else happens") })
        .unwrap();

    assert!(supervisor.stop(10 * SECOND).await.is_empty());

    assert_eq!(journal.events(), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn stop_aborts_and_names_one_shots_at_its_deadline() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    for name in ["mail", "mail", "warm-up"] {
        let instance = instances.enter();
        let work = async move {
            let _instance = instance;
            std::future::pending::<()>().await;
        };
        supervisor.spawn(name, work).unwrap();
    }

    assert_eq!(supervisor.stop(SECOND).await, ["mail (2)", "warm-up"]);

    assert_eq!(instances.now(), 0, "their destructors ran");
}
