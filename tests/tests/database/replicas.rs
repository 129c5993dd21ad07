//! Several replicas that start at once with an empty database. `tests/faults` adds a migration that
//! deadlocks if the other replicas wait for it in the database.

use std::fs;
use std::time::Duration;

use harness::eventually;
use harness::fleet;
use harness::http::{self, Request};
use harness::postgres::Postgres;
use harness::repository;
use harness::service::Service;

#[tokio::test]
async fn concurrent_replicas_migrate_once_without_deadlock() {
    let postgres = Postgres::start().await.unwrap();
    let launch = Service::of(fleet::FAULTS_ON_POSTGRES.binary())
        .env("APP__DATABASE__URL", postgres.url("postgres"))
        // A migration may exceed the statement timeout. So may the wait for another replica.
        .set("database.statement_timeout", "500ms");
    // Holds an old snapshot, for which `CREATE INDEX CONCURRENTLY` must wait.
    let look = postgres.query("postgres", "SELECT pg_sleep(60)");
    let mut replicas = Vec::new();
    let starting = async {
        eventually("the old snapshot", async || {
            let seen = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
            (postgres.query("postgres", seen).await.unwrap() == "1").then_some(())
        })
        .await;
        for _ in 0..3 {
            replicas.push(launch.clone().start().await.unwrap());
        }
        // One migrates, and two wait for it.
        let waits = |replica: &&Service| {
            let waits = "waiting for another process to migrate the database";
            let mut events = replica.log().events().into_iter();
            events.any(|event| event.message == waits)
        };
        eventually("two replicas that wait", async || {
            (replicas.iter().filter(waits).count() == 2).then_some(())
        })
        .await;
        // Longer than the statement timeout.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE query LIKE 'SELECT pg_sleep%'";
        postgres.query("postgres", end).await.unwrap();
    };
    let (ended, ()) = tokio::join!(look, starting);
    assert!(ended.is_err(), "the snapshot was released too early");

    for (number, replica) in (1..).zip(replicas) {
        let replica = replica.ready().await;
        let visit = http::send(replica.http().await, Request::post("/v1/hello/Ada"));
        assert_eq!(visit.await.unwrap().json()["times"], number);
        assert_eq!(replica.stop().await.code, Some(0));
    }
    let applied = "SELECT count(*), bool_and(success) FROM _sqlx_migrations";
    let applied = postgres.query("postgres", applied).await.unwrap();
    let files = fs::read_dir(repository::template().join("migrations/postgres")).unwrap();
    // Plus the migration that waits for the snapshot.
    assert_eq!(applied, format!("{}|t", files.count() + 1));
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'guests_times'::regclass";
    assert_eq!(postgres.query("postgres", valid).await.unwrap(), "t");
}
