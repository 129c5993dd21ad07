//! The service on a real Postgres.

use std::fs;

use harness::fleet;
use harness::postgres::Postgres;
use harness::repository;
use harness::service::{Launch, Service};

use crate::cause_of;

fn service(url: &str) -> Launch {
    Service::of(fleet::HELLO_ON_POSTGRES.binary()).env("APP__DATABASE__URL", url)
}

#[tokio::test]
async fn database_ahead_of_the_binary_is_refused() {
    let postgres = Postgres::start().await.unwrap();
    postgres.create_database("ahead").await.unwrap();
    let service = service(&postgres.url("ahead"));
    let migrated = service.clone().arg("migrate").run().await.unwrap();
    let files = fs::read_dir(repository::template().join("migrations/postgres")).unwrap();
    let count = files.count();
    let ending = if count == 1 { "" } else { "s" };
    let all = format!("applied: {count} migration{ending}\n");
    assert_eq!((migrated.code, migrated.stdout), (Some(0), all));
    let tomorrow = "INSERT INTO _sqlx_migrations VALUES (99, 'of tomorrow', now(), true, '', 0)";
    postgres.query("ahead", tomorrow).await.unwrap();

    for migrate_on_start in [true, false] {
        let launch = service
            .clone()
            .set("database.migrate_on_start", migrate_on_start);
        let exit = launch.start().await.unwrap().exit().await;
        assert_eq!(exit.code, Some(1), "{exit}");
        let cause = cause_of(&exit);
        assert!(cause.contains("99"), "{cause}");
    }
    let check = service.arg("migrate").arg("--check").run().await.unwrap();
    assert_eq!(check.code, Some(1));
    assert!(check.stderr.contains("does not know"), "{}", check.stderr);
}

#[tokio::test]
async fn postgres_errors_name_the_reason_without_a_password() {
    let postgres = Postgres::options()
        .password("right-3f1c")
        .start()
        .await
        .unwrap();
    let port = postgres.port();
    for (url, reason, on_start) in [
        // Waiting does not cure these errors, so the start fails at once.
        (
            format!("postgres://postgres:wrong-9a7e@127.0.0.1:{port}/postgres"),
            "password",
            "wait",
        ),
        (
            format!("postgres://postgres:right-3f1c@127.0.0.1:{port}/nowhere"),
            "nowhere",
            "wait",
        ),
        (
            "postgres://postgres:right-3f1c@127.0.0.1:1/postgres".to_owned(),
            "refused",
            "fail",
        ),
    ] {
        let launch = service(&url).set("database.on_start", on_start);
        let exit = launch.start().await.unwrap().exit().await;
        assert_eq!(exit.code, Some(1), "{exit}");
        let cause = cause_of(&exit);
        assert!(cause.contains(reason), "{reason}: {cause}");
        assert!(
            cause.contains("postgres://postgres:[redacted]@127.0.0.1"),
            "{cause}"
        );
        let log = format!("{exit}");
        assert!(!log.contains("3f1c") && !log.contains("9a7e"), "{log}");
    }
}
