//! SIGHUP: what is safe to reload is reloaded, and the process lives.

use keelson::eventually;
use keelson::service::Signal;

use crate::{clean, faulty, get, running};

#[tokio::test]
async fn sighup_reads_the_log_filter_again_and_never_kills() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("own.toml");
    let filter = |filter: &str| std::fs::write(&file, format!("log.filter = \"{filter}\"\n"));
    filter("info").unwrap();
    let service = running(faulty().arg("--config").arg(&file)).await;
    get(&service, "/say").await;

    filter("debug").unwrap();
    service.signal(Signal::HUP);
    eventually("what is said at debug", async || {
        get(&service, "/say").await;
        let said = service.log().events();
        said.into_iter().find(|event| event.message == "said")
    })
    .await;

    // One that is none is told, and changes nothing.
    filter("inof").unwrap();
    let log = service.log().from_now();
    service.signal(Signal::HUP);
    log.wait_for("a complaint", |event| {
        event.level != "DEBUG" && event.to_string().contains("log.filter")
    })
    .await;
    let log = service.log().from_now();
    get(&service, "/say").await;
    log.event("said").await;
    clean(&service.stop().await);
}

#[tokio::test]
async fn sighup_during_a_start_and_during_a_stop_kills_neither() {
    let launch = faulty().set("faults.task", "slow_start");
    let service = launch.start().await.unwrap();
    service.event("starting slowly").await;
    service.signal(Signal::HUP);
    let answer = service.ask("/livez").await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(service.stop().await.code, Some(0));

    let service = running(faulty()).await;
    let request = crate::in_handler(&service, "/slow?ms=1500").await;
    service.signal(Signal::TERM);
    service.event("draining").await;
    service.signal(Signal::HUP);
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    clean(&service.exit().await);
}
