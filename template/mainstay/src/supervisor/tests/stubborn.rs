//! Panics in unusual places, and stops at unusual times. Neither affects other tasks.

use super::*;

#[tokio::test(start_paused = true)]
async fn panic_anywhere_in_a_run_is_a_failure() {
    let supervisor = Supervisor::new();
    let no_future = |_| -> std::future::Pending<()> { panic!("no future") };
    supervisor.task("make").run(no_future).unwrap();
    supervisor
        .task("drop")
        .run(|_| PanicsOnDrop("dropped"))
        .unwrap();
    let error = |_| async { Err(PanickingError) };
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
    let journal = Journal::new();
    let noted = journal.clone();
    let last = move |context: Context| {
        let noted = noted.clone();
        async move {
            context.cancelled().await;
            noted.note("the last one stops");
        }
    };
    supervisor.task("last").run(last).unwrap();
    let speechless = |context: Context| async move {
        context.cancelled().await;
        Err(PanickingError)
    };
    supervisor.task("speechless").run(speechless).unwrap();
    let clings = |_| async {
        let _clings = PanicsOnDrop("while it is aborted");
        std::future::pending::<()>().await;
    };
    supervisor.task("clings").run(clings).unwrap();
    let shot = async {
        let _clings = PanicsOnDrop("while it is aborted");
        std::future::pending::<()>().await;
    };
    supervisor.spawn("shot", shot).unwrap();
    sleep(SECOND).await;

    assert_eq!(supervisor.stop(10 * SECOND).await, ["clings", "shot"]);

    assert_eq!(journal.events(), ["the last one stops"]);
    assert!(supervisor.alive().is_empty(), "{:?}", supervisor.alive());
}

#[tokio::test(start_paused = true)]
async fn stopping_task_cannot_spawn_work() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let (noted, own) = (journal.clone(), supervisor.clone());
    let run = move |context: Context| {
        let (noted, own) = (noted.clone(), own.clone());
        async move {
            context.cancelled().await;
            let forever = std::future::pending::<()>();
            noted.note(own.spawn("flush", forever).unwrap_err().to_string());
            noted.note(own.task("late").run(idle).unwrap_err().to_string());
        }
    };
    supervisor.task("a").run(run).unwrap();
    sleep(SECOND).await;

    let began = Instant::now();
    assert!(supervisor.stop(10 * SECOND).await.is_empty());

    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(
        journal.events(),
        [
            "the service is stopping: the task \"flush\" is not started",
            "the service is stopping: the task \"late\" is not started"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn stop_deadline_bounds_a_task_an_operator_ended() {
    for restart in [true, false] {
        let supervisor = Supervisor::new();
        let deaf = |_| std::future::pending::<()>();
        let patient = supervisor.task("deaf").stop_within(1000 * SECOND);
        patient.run(deaf).unwrap();
        sleep(SECOND).await;
        let order = if restart {
            supervisor.restart("deaf")
        } else {
            supervisor.pause("deaf")
        };
        order.unwrap();
        sleep(SECOND).await;

        let began = Instant::now();
        assert_eq!(supervisor.stop(10 * SECOND).await, ["deaf"]);

        assert!(began.elapsed() < 11 * SECOND, "{:?}", began.elapsed());
        assert_eq!(status(&supervisor, "deaf").runs, 1, "nothing comes back");
    }
}

#[tokio::test(start_paused = true)]
async fn restart_order_during_the_stop_does_not_run_the_task() {
    let supervisor = Supervisor::new();
    let leisurely = |context: Context| async move {
        context.cancelled().await;
        sleep(SECOND).await;
    };
    supervisor.task("first").run(leisurely).unwrap();
    let slower = |context: Context| async move {
        context.cancelled().await;
        sleep(3 * SECOND).await;
    };
    supervisor.task("second").run(slower).unwrap();
    sleep(SECOND).await;

    let stop = supervisor.stop(60 * SECOND);
    let order = async {
        sleep(SECOND).await;
        supervisor.restart("first").unwrap();
    };
    assert!(tokio::join!(stop, order).0.is_empty());

    assert_eq!(status(&supervisor, "first").runs, 1);
}

#[tokio::test(start_paused = true)]
async fn task_spawned_just_before_the_stop_does_not_run() {
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let noted = journal.clone();
    let run = move |context: Context| {
        noted.note("runs");
        idle(context)
    };
    supervisor.task("late").run(run).unwrap();

    assert!(supervisor.stop(SECOND).await.is_empty());

    assert!(journal.events().is_empty());
    assert_eq!(status(&supervisor, "late").state, State::Stopped);
}

#[tokio::test(start_paused = true)]
async fn alive_names_what_the_stop_waits_for() {
    let supervisor = Supervisor::new();
    let takes = |time: u32| {
        move |context: Context| async move {
            context.cancelled().await;
            sleep(time * SECOND).await;
        }
    };
    supervisor.task("announcer").run(takes(2)).unwrap();
    supervisor
        .task("done")
        .restart_never()
        .run(|_| async {})
        .unwrap();
    supervisor.task("recorder").run(takes(2)).unwrap();
    supervisor.spawn("mail", sleep(3 * SECOND)).unwrap();
    supervisor.spawn("mail", sleep(5 * SECOND)).unwrap();
    let given_up = |_| async { Err("again") };
    supervisor.task("given-up").run(given_up).unwrap();
    reaches(&supervisor, "done", State::Stopped).await;
    let all = ["given-up", "recorder", "announcer", "mail (2)"];
    assert_eq!(supervisor.alive(), all);

    let stop = supervisor.stop(60 * SECOND);
    let watch = async {
        sleep(SECOND).await;
        let first = supervisor.alive();
        sleep(2 * SECOND).await;
        (first, supervisor.alive())
    };
    let (left, (first, second)) = tokio::join!(stop, watch);

    assert!(left.is_empty());
    assert_eq!(first, ["recorder", "announcer", "mail (2)"]);
    assert_eq!(second, ["announcer", "mail"]);
    assert!(supervisor.alive().is_empty());
}
