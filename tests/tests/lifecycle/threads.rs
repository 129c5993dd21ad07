//! Code that blocks a thread does not keep the process alive.

use std::time::Duration;

use harness::eventually;
use harness::service::Signal;

use crate::{AT_ONCE, abandoned, clean, faulty, get, in_handler};

#[tokio::test]
async fn hung_blocking_work_does_not_delay_the_exit() {
    let service = faulty().ready().await;
    get(&service, "/blocking").await;
    service.event("blocking begun").await;

    let exit = service.stop().await;

    clean(&exit);
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn drain_cuts_a_handler_that_blocks_its_worker() {
    let service = faulty().set("shutdown.drain", "1s").ready().await;
    let _unanswered = in_handler(&service, "/spin?ms=3600000").await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(3), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    assert!(abandoned(&exit).contains("/spin"), "{exit}");
}

#[tokio::test]
async fn two_signals_end_a_stalled_runtime() {
    let service = faulty().ready().await;
    get(&service, "/stall?ms=3600000").await;
    service.event("stall begun").await;

    // The kernel may merge two signals of the same kind.
    service.signal(Signal::TERM);
    service.signal(Signal::INT);

    let exit = service.exit().await;
    assert!(matches!(exit.code, Some(130 | 143)), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn stalled_stop_is_forced_a_second_before_the_grace() {
    const GRACE: Duration = Duration::from_secs(6);
    let launch = faulty()
        .set("shutdown.drain", "1s")
        .set("shutdown.tasks", "1s")
        .set("shutdown.close", "1s")
        .set("shutdown.grace", "6s");
    let service = launch.ready().await;
    get(&service, "/stall?ms=3600000").await;
    service.event("stall begun").await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(3), "{exit}");
    let early = GRACE.checked_sub(exit.took);
    let early = early.unwrap_or_else(|| panic!("took {:?}: {exit}", exit.took));
    assert!(early <= Duration::from_millis(1050), "took {:?}", exit.took);
    let last = exit.events.last().unwrap();
    assert_eq!(last.message, "stopped", "{exit}");
    assert_eq!(last.field("outcome"), "abandoned", "{exit}");
    assert_eq!(abandoned(&exit), "a stop that made no progress", "{exit}");
}

#[tokio::test]
async fn stall_is_logged_and_fails_livez() {
    const STALL: Duration = Duration::from_secs(8);
    let service = faulty().set("health.stall", "2s").ready().await;
    assert_eq!(service.ask("/livez").await.status, 200);
    let calm = service.metric("runtime_busy_seconds_total").await;
    let workers = service.metric("runtime_workers").await;
    assert!(service.metric("runtime_stalls_total").await < 0.5);

    get(&service, "/stall?ms=8000").await;
    service.event("stall begun").await;

    eventually("a /livez that fails", async || {
        (service.ask("/livez").await.status == 503).then_some(())
    })
    .await;
    eventually("the metrics to show the stall", async || {
        let stalls = service.metric("runtime_stalls_total").await;
        let lasting = service.metric("runtime_stalled_seconds").await;
        ((stalls - 1.0).abs() < 0.5 && lasting >= 1.0).then_some(())
    })
    .await;
    let events = service.log().events().into_iter();
    let mut events = events.filter(|event| event.level == "WARN" || event.level == "ERROR");
    assert!(events.any(|event| event.to_string().contains("stall")));
    // The lag of the last heartbeat; there is one each second.
    let lag = eventually("the lag of the stall", async || {
        let lag = service.metric("runtime_lag_seconds").await;
        (lag >= 1.0).then_some(lag)
    })
    .await;
    let over = service.event("going on after a stall").await;
    let logged_ms = over.field("stalled_ms").as_f64().unwrap();
    assert!(
        (lag * 1000.0 - logged_ms).abs() <= 1.0,
        "{lag} s, {logged_ms} ms"
    );
    assert!(service.metric("runtime_stalled_seconds").await < 0.001);
    eventually("a /livez that has recovered", async || {
        (service.ask("/livez").await.status == 200).then_some(())
    })
    .await;
    let least = workers * STALL.as_secs_f64();
    eventually("the total of the lag", async || {
        let busy = service.metric("runtime_busy_seconds_total").await - calm;
        (busy >= least).then_some(())
    })
    .await;
    assert_eq!(service.stop().await.code, Some(0));
}
