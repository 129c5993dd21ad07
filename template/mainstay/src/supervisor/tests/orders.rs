//! Orders of an operator, and names of tasks.

use super::*;

#[tokio::test(start_paused = true)]
async fn duplicate_task_name_is_refused() {
    let supervisor = Supervisor::new();
    supervisor.task("a").run(idle).unwrap();

    let refused = supervisor.task("a").run(idle).unwrap_err();

    assert_eq!(refused.to_string(), "there is a task \"a\" already");
    assert_eq!(supervisor.statuses().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn restart_during_backoff_runs_exactly_one_instance() {
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
async fn operator_pauses_resumes_and_restarts_a_task() {
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
        "an order is not a failure"
    );
}

#[tokio::test(start_paused = true)]
async fn operator_restart_resets_the_restart_limit() {
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
async fn order_to_an_unknown_or_ended_task_is_refused() {
    let supervisor = Supervisor::new();
    supervisor
        .task("once")
        .restart_never()
        .run(|_| async {})
        .unwrap();
    reaches(&supervisor, "once", State::Stopped).await;
    // Its life ends after its state is set.
    sleep(SECOND).await;

    for name in ["unknown", "once"] {
        assert_eq!(
            supervisor.restart(name).unwrap_err(),
            SpawnError::Unknown(name.into())
        );
    }
}
