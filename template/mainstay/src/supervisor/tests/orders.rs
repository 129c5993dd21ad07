//! What an operator can do, and names.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let supervisor = Supervisor::new();
    supervisor.task("a").run(idle).unwrap();

    let refused = supervisor.task("a").run(idle).unwrap_err();

    assert_eq!(refused.to_string(), "there is a task \"a\" already");
    assert_eq!(supervisor.statuses().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_during_a_pause_gives_exactly_one_instance() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let entered = instances.clone();
    let runs = AtomicUsize::new(0);
    let run = move |context: Context| {
        let instance = entered.enter();
        let first = runs.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let _instance = instance;
            if first {
                return Err("at once");
            }
            context.cancelled().await;
            Ok(())
        }
    };
    supervisor
        .task("a")
        .backoff(100 * SECOND, 100 * SECOND)
        .run(run)
        .unwrap();
    reaches(&supervisor, "a", State::BackingOff).await;

    supervisor.restart("a").unwrap();
    reaches(&supervisor, "a", State::Running).await;
    sleep(500 * SECOND).await;

    assert_eq!((instances.now(), instances.most()), (1, 1));
    assert_eq!(status(&supervisor, "a").runs, 2);
}

#[tokio::test(start_paused = true)]
async fn pause_resume_and_restart_do_what_they_say() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    let entered = instances.clone();
    let run = move |context: Context| {
        let instance = entered.enter();
        async move {
            let _instance = instance;
            context.cancelled().await;
        }
    };
    supervisor.task("a").critical().run(run).unwrap();
    reaches(&supervisor, "a", State::Running).await;

    supervisor.pause("a").unwrap();
    reaches(&supervisor, "a", State::Paused).await;
    sleep(500 * SECOND).await;
    assert_eq!(
        (instances.now(), status(&supervisor, "a").state),
        (0, State::Paused)
    );

    supervisor.resume("a").unwrap();
    reaches(&supervisor, "a", State::Running).await;
    assert_eq!(instances.now(), 1);

    supervisor.restart("a").unwrap();
    sleep(SECOND).await;
    assert_eq!((instances.now(), instances.most()), (1, 1));
    let status = status(&supervisor, "a");
    assert_eq!(
        (status.runs, status.restarts),
        (3, 0),
        "what a person did is no failure"
    );
}

#[tokio::test(start_paused = true)]
async fn operator_restart_resets_the_chances_of_a_task() {
    let supervisor = Supervisor::new();
    supervisor
        .task("a")
        .run(|_| async { Err("again") })
        .unwrap();
    reaches(&supervisor, "a", State::GaveUp).await;

    supervisor.restart("a").unwrap();
    sleep(Duration::from_millis(1)).await;
    reaches(&supervisor, "a", State::GaveUp).await;

    assert_eq!(status(&supervisor, "a").runs, 12);
}

#[tokio::test(start_paused = true)]
async fn an_order_to_a_task_that_is_not_there_is_refused() {
    let supervisor = Supervisor::new();
    supervisor
        .task("once")
        .restart_never()
        .run(|_| async {})
        .unwrap();
    reaches(&supervisor, "once", State::Stopped).await;
    // Its life has ended, too: nobody is there to be told.
    sleep(SECOND).await;

    for name in ["nobody", "once"] {
        assert_eq!(
            supervisor.restart(name).unwrap_err(),
            SpawnError::Unknown(name.into())
        );
    }
}
