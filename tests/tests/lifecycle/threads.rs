//! Code that keeps a thread for itself keeps no process alive.

use keelson::service::Signal;

use crate::{AT_ONCE, abandoned, ask, clean, eventually, faulty, get, in_handler, running};

#[tokio::test]
async fn blocking_work_that_hangs_does_not_keep_the_process() {
    let service = running(faulty()).await;
    get(&service, "/blocking").await;
    service.event("blocking begun").await;

    let exit = service.stop().await;

    clean(&exit);
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn a_handler_that_keeps_its_worker_is_cut_at_the_deadline() {
    let service = running(faulty().set("shutdown.drain", "1s")).await;
    let _unanswered = in_handler(&service, "/spin?ms=3600000").await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(3), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    assert!(abandoned(&exit).contains("/spin"), "{exit}");
}

#[tokio::test]
async fn a_runtime_that_stands_still_for_ever_can_be_ended_by_two_signals() {
    let service = running(faulty()).await;
    get(&service, "/stall?ms=3600000").await;
    service.event("stall begun").await;

    // Two of the same kind might arrive as one.
    service.signal(Signal::TERM);
    service.signal(Signal::INT);

    let exit = service.exit().await;
    assert!(matches!(exit.code, Some(130 | 143)), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn a_stalled_runtime_is_noticed_told_and_fails_the_operators_livez() {
    let service = running(faulty().set("health.stall", "2s")).await;
    assert_eq!(ask(&service, "/livez").await.status, 200);

    get(&service, "/stall?ms=8000").await;
    service.event("stall begun").await;

    eventually("a /livez that fails", async || {
        (ask(&service, "/livez").await.status == 503).then_some(())
    })
    .await;
    let told = service.log().events().into_iter();
    let mut told = told.filter(|event| event.level == "WARN" || event.level == "ERROR");
    assert!(told.any(|event| event.to_string().contains("stall")));
    eventually("a /livez that has recovered", async || {
        (ask(&service, "/livez").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(service.stop().await.code, Some(0));
}
