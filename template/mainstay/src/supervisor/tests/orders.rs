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
    let runs = AtomicUsize::new(0);
    let fails_once = move |context| match runs.fetch_add(1, Ordering::SeqCst) {
        0 => fails(context).boxed(),
        _ => idle(context).map(Ok).boxed(),
    };
    let task = supervisor.task("a").backoff(100 * SECOND, 100 * SECOND);
    task.run(instances.of(fails_once)).unwrap();
    reaches(&supervisor, "a", State::BackingOff).await;

    supervisor.order("a", Order::Restart).unwrap();
    reaches(&supervisor, "a", State::Running).await;
    sleep(500 * SECOND).await;

    assert_eq!((instances.now(), instances.most()), (1, 1));
    assert_eq!(status(&supervisor, "a").runs, 2);
}

#[tokio::test(start_paused = true)]
async fn operator_pauses_resumes_and_restarts_a_task() {
    let supervisor = Supervisor::new();
    let instances = Instances::default();
    supervisor.task("a").run(instances.of(idle)).unwrap();
    reaches(&supervisor, "a", State::Running).await;

    supervisor.order("a", Order::Pause).unwrap();
    reaches(&supervisor, "a", State::Paused).await;
    sleep(500 * SECOND).await;
    assert_eq!(status(&supervisor, "a").state, State::Paused);
    assert_eq!(instances.now(), 0);

    supervisor.order("a", Order::Resume).unwrap();
    reaches(&supervisor, "a", State::Running).await;
    assert_eq!(instances.now(), 1);

    supervisor.order("a", Order::Restart).unwrap();
    sleep(SECOND).await;
    assert_eq!((instances.now(), instances.most()), (1, 1));
    let status = status(&supervisor, "a");
    let counts = (status.runs, status.restarts);
    assert_eq!(counts, (3, 0), "an order is not a failure");
}

#[tokio::test(start_paused = true)]
async fn restart_during_a_run_resets_the_history_of_failures() {
    let supervisor = Supervisor::new();
    let fails_after_a_second = async |context: Context| timeout(SECOND, context.cancelled()).await;
    let task = supervisor.task("a").max_restarts(1, 600 * SECOND);
    task.run(fails_after_a_second).unwrap();
    while status(&supervisor, "a").runs < 2 {
        sleep(Duration::from_millis(10)).await;
    }

    supervisor.order("a", Order::Restart).unwrap();
    sleep(SECOND / 2).await;

    assert_eq!(status(&supervisor, "a").runs, 3);
    reaches(&supervisor, "a", State::GaveUp).await;
    let status = status(&supervisor, "a");
    assert_eq!((status.runs, status.restarts), (4, 2));
}

#[tokio::test(start_paused = true)]
async fn order_to_an_unknown_or_ended_task_is_refused() {
    let supervisor = Supervisor::new();
    let once = supervisor.task("once").restart(Restart::Never);
    once.run(|_| ready(())).unwrap();
    reaches(&supervisor, "once", State::Stopped).await;
    // Its runner ends after the state is set.
    sleep(SECOND).await;

    for name in ["unknown", "once"] {
        let refused = supervisor.order(name, Order::Restart).unwrap_err();
        assert_eq!(refused, SpawnError::Unknown(name.into()));
    }
}
