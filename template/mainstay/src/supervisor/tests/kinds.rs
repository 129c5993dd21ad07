//! Periodic tasks and one-shots.

use super::*;

#[tokio::test(start_paused = true)]
async fn periodic_task_runs_once_per_interval() {
    let supervisor = Supervisor::new();
    let every = |name| supervisor.every(name, 10 * SECOND);
    every("later").run(|_| ready(())).unwrap();
    every("now").at_start().run(|_| ready(())).unwrap();
    let busy = supervisor.every("busy", Duration::ZERO);
    busy.run(|_| ready(())).unwrap();

    sleep(35 * SECOND).await;

    assert_eq!(status(&supervisor, "now").runs, 4);
    let later = status(&supervisor, "later");
    assert_eq!((later.runs, later.restarts), (3, 0));
    assert!(later.next_run.is_some());
}

#[tokio::test(start_paused = true)]
async fn periodic_task_skips_missed_ticks_and_never_overlaps() {
    let supervisor = Supervisor::new();
    let (instances, journal) = (Instances::default(), Journal::default());
    let (noted, began) = (journal.clone(), Instant::now());
    let run = instances.of(move |_| {
        noted.note(began.elapsed().as_secs().to_string());
        sleep(25 * SECOND)
    });
    supervisor.every("slow", 10 * SECOND).run(run).unwrap();

    sleep(105 * SECOND).await;

    assert_eq!(instances.most(), 1);
    assert_eq!(journal.events(), ["10", "40", "70", "100"], "on a tick");
}

#[tokio::test(start_paused = true)]
async fn periodic_task_runs_again_after_a_failed_or_late_run() {
    let supervisor = Supervisor::new();
    let run = numbered(async |run| match run {
        0 => panic!("the first"),
        1 => pending().await,
        _ => Err("the third"),
    });
    let every = supervisor.every("a", 10 * SECOND).timeout(5 * SECOND);
    every.run(run).unwrap();

    for (time, error) in [
        (11, ": the first"),
        (15, "took longer than 5s"),
        (5, "the third"),
    ] {
        sleep(time * SECOND).await;
        let last = last_error(&supervisor, "a");
        assert!(last.ends_with(error), "{last}, not {error}");
    }
    assert_eq!(status(&supervisor, "a").state, State::Running);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_a_run_within_its_limit() {
    let supervisor = Supervisor::new();
    let late = Arc::new(Mutex::new(Vec::new()));
    let (noted, began) = (Arc::clone(&late), Instant::now());
    let run = move |_| {
        let late = began.elapsed().as_millis() % 10_000;
        noted.lock().unwrap().push(late);
        ready(())
    };
    let every = supervisor.every("a", 10 * SECOND).jitter(5 * SECOND);
    every.run(run).unwrap();

    sleep(500 * SECOND).await;

    let late = late.lock().unwrap();
    assert!(late.len() >= 49, "{late:?}");
    assert!(late.iter().all(|late| *late <= 5_001), "{late:?}");
    assert!(late.iter().any(|late| *late > 1_000), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_one_shots() {
    let supervisor = Supervisor::new();
    let journal = Journal::default();
    let noted = journal.clone();
    let work = async move {
        sleep(3 * SECOND).await;
        noted.note("done");
    };
    supervisor.spawn("work", work).unwrap();

    assert!(supervisor.stop(10 * SECOND).await.is_empty());

    assert_eq!(journal.events(), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn stop_aborts_and_names_one_shots_at_its_deadline() {
    let supervisor = Supervisor::new();
    supervisor.task("task").run(deaf).unwrap();
    let instances = Instances::default();
    for name in ["mail", "mail", "warm-up"] {
        let instance = instances.enter();
        let work = pending::<()>().map(|()| drop(instance));
        supervisor.spawn(name, work).unwrap();
    }
    sleep(SECOND).await;

    let (left, took) = timed_stop(&supervisor, SECOND).await;

    assert_eq!(left, ["task", "mail (2)", "warm-up"]);
    assert!(took <= SECOND + Duration::from_millis(1), "{took:?}");

    assert_eq!(instances.now(), 0, "their destructors ran");
}
