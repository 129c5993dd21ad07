//! Periodic tasks, and work that is done once.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_periodic_task_runs_once_an_interval() {
    let supervisor = Supervisor::new();
    let diary = Diary::new();
    for (name, at_start) in [("later", false), ("now", true)] {
        let noted = diary.clone();
        let run = move |_| {
            noted.note(name);
            async {}
        };
        let every = supervisor.every(name, 10 * SECOND);
        let every = if at_start { every.at_start() } else { every };
        every.run(run).unwrap();
    }

    sleep(35 * SECOND).await;

    assert_eq!((diary.count("later"), diary.count("now")), (3, 4));
    let status = status(&supervisor, "later");
    assert_eq!((status.runs, status.restarts), (3, 0));
    assert!(status.next_run.is_some());
}

#[tokio::test(start_paused = true)]
async fn runs_do_not_overlap_and_missed_ticks_are_skipped() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let diary = Diary::new();
    let (entered, noted) = (instances.clone(), diary.clone());
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
    let times: Vec<_> = diary.times().iter().map(Duration::as_secs).collect();
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
async fn jitter_delays_a_run_and_never_by_more_than_it_says() {
    let supervisor = Supervisor::new();
    let diary = Diary::new();
    let noted = diary.clone();
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

    let late: Vec<_> = diary
        .times()
        .iter()
        .map(|time| time.as_millis() % 10_000)
        .collect();
    assert!(late.len() >= 49, "{late:?}");
    assert!(late.iter().all(|late| *late <= 5_001), "{late:?}");
    assert!(late.iter().any(|late| *late > 1_000), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_work_that_is_done_once() {
    let supervisor = Supervisor::new();
    let diary = Diary::new();
    let noted = diary.clone();
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

    assert_eq!(diary.events(), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_is_aborted_and_counted_by_name() {
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
