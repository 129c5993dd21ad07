//! The health check `monitor`.

use mainstay::health;
use mainstay::lifecycle::Lifecycle;
use mainstay::supervisor::Order;
use tokio::time::{advance, pause, resume, sleep, timeout};

use super::*;
use work::LATE;

/// As if this much time had passed without any other event.
async fn later(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

async fn until_it_goes_on(work: &Work) {
    let check_progress = async {
        while work.check_progress().is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, check_progress).await.unwrap();
}

#[tokio::test]
async fn stalled_scheduler_degrades_health_until_it_runs() {
    let fixture = Fixture::new().await;
    let (supervisor, work) = (Supervisor::new(), Work::default());
    let replica = fixture.replica(10);
    replica.schedule.spawn(&supervisor, &work).unwrap();

    supervisor.order("scheduler", Order::Pause).unwrap();
    let is_paused = async {
        while supervisor.statuses()[0].state.name() != "paused" {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, is_paused).await.unwrap();
    later(LATE).await;
    assert!(work.check_progress().is_err());

    supervisor.order("scheduler", Order::Resume).unwrap();
    until_it_goes_on(&work).await;
}

#[tokio::test]
async fn unwritten_results_degrade_health_until_written() {
    let fixture = Fixture::new().await;
    fixture.watched.add(1).await;
    let due = fixture.replica(10).takes(Timestamp::now()).await.remove(0);
    let work = Work::default();
    let write = recorded(fixture.history.clone(), work.clone());
    work.reported();
    fixture
        .watched
        .run("ALTER TABLE checks RENAME TO gone")
        .await;

    later(LATE).await;
    write([up(&due)].into()).await.unwrap_err();
    assert!(work.check_progress().is_err());

    fixture
        .watched
        .run("ALTER TABLE gone RENAME TO checks")
        .await;
    write([up(&due)].into()).await.unwrap();
    assert_eq!(work.check_progress(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn health_of_the_service_includes_the_monitor() {
    let period = Duration::from_secs(1);
    let settings = health::Settings {
        period,
        timeout: period,
        stall: LATE,
    };
    let (lifecycle, supervisor) = (Lifecycle::starting(), Supervisor::new());
    let health = Health::new(&settings, &lifecycle, &supervisor);
    let work = Work::default();
    watch(&work, &health).unwrap();
    let passes = || {
        let checked = health.checked().remove(0);
        assert_eq!(checked.name, "monitor");
        checked.passes
    };
    work.scheduled();
    sleep(LATE.saturating_sub(period)).await;
    assert!(passes());

    // One failure is tolerated.
    sleep(5 * period).await;
    assert!(!passes());

    work.scheduled();
    sleep(2 * period).await;
    assert!(passes());
}
