//! A failed start or migration logs its cause in one line, stops what it had started, and cleans up.

use std::net::TcpListener;
use std::time::Duration;

use harness::eventually;
use harness::fleet;
use harness::http::{self, Request};
use harness::service::{Exit, Launch, Service, Signal};
use tempfile::TempDir;

use crate::{AT_ONCE, count, faulty, left_in};

/// Asserts that the start fails. At the end, its directory contains at most a closed database.
async fn fails(launch: Launch, names: &[&str]) -> Exit {
    let directory = tempfile::tempdir().unwrap();
    let started = launch.directory(directory.path()).start().await.unwrap();
    let exit = started.exit().await;
    exit.failed(names);
    let left = left_in(&directory.path().join("data"));
    assert!(left.is_empty() || left == ["service.db"], "{left:?}");
    exit
}

/// Asserts that the process is alive, not ready, and has not started.
async fn assert_starting(service: &Service) {
    for (path, status) in [("/livez", 200), ("/readyz", 503), ("/startupz", 503)] {
        let answer = service.ask(path).await;
        assert_eq!(answer.status, status, "{path}: {answer}");
    }
}

#[tokio::test]
async fn used_port_is_named_within_a_second() {
    for key in ["http.listen", "operator.listen"] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();

        let exit = fails(faulty().set(key, address), &[key, &address.to_string()]).await;

        assert!(exit.took < Duration::from_secs(1), "took {:?}", exit.took);
    }
}

#[tokio::test]
async fn start_names_a_database_that_cannot_be_opened() {
    let nonsense = "no database, but a letter to the operator. ".repeat(100);
    let there = faulty().file("place/kept", "").file("a.db", nonsense);
    for url in [
        "sqlite:/proc/nowhere/service.db",
        "sqlite:place",
        "sqlite:a.db",
    ] {
        fails(there.clone().set("database.url", url), &[url]).await;
    }
}

#[tokio::test]
async fn failed_start_of_a_task_stops_the_earlier_ones() {
    let launch = faulty().set("faults.task", "not_started");
    let exit = fails(launch, &["faulty", "it cannot start"]).await;

    for message in ["sound task started", "sound task stopped"] {
        assert_eq!(count(&exit, message), 1, "{message}: {exit}");
        assert_eq!(exit.event(message).unwrap().field("name"), "before");
    }
}

#[tokio::test]
async fn start_can_be_watched_and_ended_by_a_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let directory = tempfile::tempdir().unwrap();
        let launch = faulty()
            .set("faults.task", "slow_start")
            .directory(directory.path());
        let service = launch.start().await.unwrap();
        service.event("starting slowly").await;
        service.signal(Signal::HUP);
        assert_starting(&service).await;
        assert_eq!(service.ask("/api/state").await.json()["state"], "starting");
        let mut events = service.log().events().into_iter();
        let public = events.find(|event| event.field("listener") == "http");
        assert!(public.is_none(), "it listens too early: {public:?}");

        service.signal(signal);

        let exit = service.exit().await;
        assert_eq!(exit.code, Some(0), "{exit}");
        assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
        assert!(exit.event("ready").is_none(), "{exit}");
        assert!(exit.event("sound task stopped").is_some(), "{exit}");
        assert_eq!(left_in(&directory.path().join("data")), ["service.db"]);
    }
}

/// A directory with the database of an older version and this guest. It lacks the migration
/// `recount`, which depends on the guest's name.
async fn old_database(guest: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let launch = Service::of(fleet::HELLO.binary()).directory(directory.path());
    let service = launch.ready().await;
    let visit = Request::post(&format!("/v1/hello/{guest}"));
    let greeted = http::send(service.http().await, visit).await.unwrap();
    assert_eq!(greeted.status, 200, "{greeted}");
    assert_eq!(service.stop().await.code, Some(0));
    directory
}

#[tokio::test]
async fn failed_migration_is_named_and_rolled_back() {
    let directory = old_database("twice").await;
    let here = faulty().directory(directory.path());
    for _ in 0..2 {
        let exit = here.clone().start().await.unwrap().exit().await;
        exit.failed(&["sqlite:data/service.db", "migrat", "UNIQUE"]);
        assert_eq!(left_in(&directory.path().join("data")), ["service.db"]);
    }
}

#[tokio::test]
async fn signal_during_a_migration_stops_cleanly() {
    let directory = old_database("slow").await;
    for signal in [Signal::TERM, Signal::INT] {
        let launch = faulty()
            .directory(directory.path())
            .set("shutdown.close", "3s");
        let service = launch.start().await.unwrap();
        service.operator().await;
        eventually("the migration to run", async || {
            (service.cpu_time() > Duration::from_secs(1)).then_some(())
        })
        .await;
        assert_starting(&service).await;

        service.signal(signal);

        let exit = service.exit().await;
        assert!(exit.event("ready").is_none(), "{exit}");
        assert!(exit.took < Duration::from_secs(8), "took {:?}", exit.took);
        assert_eq!(exit.code, Some(0), "{exit}");
        assert_eq!(left_in(&directory.path().join("data")), ["service.db"]);
    }
    // The failed migration left nothing in the database.
    let check = faulty().directory(directory.path());
    let check = check.arg("migrate").arg("--check").run().await.unwrap();
    assert!(check.stdout.contains("pending: 1"), "{check:?}");
}
