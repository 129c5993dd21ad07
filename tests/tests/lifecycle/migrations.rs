//! A database of an older version, with a migration that is slow or fails.

use std::time::Duration;

use harness::eventually;
use harness::fleet;
use harness::http::{self, Request};
use harness::service::{Service, Signal};
use tempfile::TempDir;

use crate::{faulty, left_in};

/// A directory with the database of an older version and this guest. It lacks the migration
/// `recount`, which depends on the guest's name.
async fn old_database(guest: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let launch = Service::of(fleet::HELLO.binary()).directory(directory.path());
    let service = launch.start().await.unwrap().ready().await;
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
        for (path, status) in [("/livez", 200), ("/readyz", 503), ("/startupz", 503)] {
            assert_eq!(service.ask(path).await.status, status, "{path}");
        }

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
