//! Starts without a database, or with one that refuses the user; a server that restarts under load.

use std::time::{Duration, Instant};

use harness::eventually;
use harness::http::Request;
use harness::load::Load;
use harness::postgres::{Postgres, Stop};

use crate::{add, on_postgres, timed, with_url};

#[tokio::test]
async fn start_waits_for_the_database_and_logs_it() {
    let mut postgres = Postgres::start().await.unwrap();
    postgres.stop(Stop::Fast).await.unwrap();
    let launch = on_postgres(&postgres);
    let service = launch.start().await.unwrap();
    let waiting = service.event("waiting for the database").await;
    let cause = waiting.field("cause").as_str().unwrap();
    assert!(cause.contains("refused"), "{cause}");
    let verbose = service.ask("/startupz?verbose").await;
    assert_eq!(verbose.status, 503, "{verbose}");
    let is_named = verbose.text().contains("waiting for the database");
    assert!(is_named, "{verbose}");
    assert_eq!(service.ask("/livez").await.status, 200);
    assert_eq!(service.ask("/readyz").await.status, 503);

    postgres.restart().await.unwrap();

    let service = service.ready().await;
    eventually("the start to end", async || {
        (service.ask("/startupz").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn refusing_server_ends_the_start_without_a_password() {
    let server = Postgres::with_password("canary-right");
    let postgres = server.await.unwrap();
    let no_database = postgres.url("nowhere");
    let no_password = postgres.url("postgres").replace("-right", "-wrong");
    let no_user = no_password.replace("postgres:canary", "nobody:canary");
    let no_server = "postgres://postgres:canary-right@127.0.0.1:1/postgres".to_owned();
    for (on_start, url, user, cause) in [
        // By default, the service waits for a server that does not listen.
        ("fail", &no_server, "postgres", "refused"),
        ("wait", &no_database, "postgres", "/nowhere"),
        ("fail", &no_database, "postgres", "not exist"),
        ("wait", &no_password, "postgres", "password"),
        ("fail", &no_password, "postgres", "password"),
        ("wait", &no_user, "nobody", "password"),
        ("fail", &no_user, "nobody", "password"),
    ] {
        let launch = with_url(url.clone()).set("database.on_start", on_start);
        let exit = launch.start().await.unwrap().exit().await;
        exit.failed(&["database.url", &format!("{user}:[redacted]@127."), cause]);
        assert!(exit.took < Duration::from_secs(2), "{exit}");
        let waits = exit.event("waiting for the database").is_some();
        let output = format!("{exit}\n{}", exit.stderr);
        assert!(!waits && !output.contains("canary"), "{output}");
    }
}

/// The time limit for the recovery after a restart of the server.
const RECOVERY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn server_restart_costs_only_503_for_two_seconds() {
    let mut postgres = Postgres::start().await.unwrap();
    let launch = on_postgres(&postgres).set("monitor.max_targets", 1_000_000);
    let service = launch.ready().await;
    let address = service.http().await;
    let id = add(address, "http://first/").await;
    let path = format!("/v1/targets/{id}");
    // The median latency of many responses, which must all have status 200.
    let latency = async || {
        let mut times = Vec::new();
        for _ in 0..50 {
            let (answer, took) = timed(address, Request::get(&path)).await;
            assert_eq!(answer.status, 200, "{answer}");
            times.push(took);
        }
        times.sort_unstable();
        times[times.len() / 2]
    };
    let load = Load::on(address, 4);
    load.answers(100).await;
    let before = latency().await;

    let mut seen = 0;
    for how in [Stop::Fast, Stop::Immediate] {
        postgres.stop(how).await.unwrap();
        seen += 300;
        load.answers(seen).await;
        postgres.restart().await.unwrap();
        let back = Instant::now();
        while timed(address, Request::get(&path)).await.0.status != 200 {
            assert!(back.elapsed() < RECOVERY, "{how:?}: it does not recover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let after = latency().await;
        // A tolerance for the continuing load and the longer list.
        let normal = (before * 4).max(Duration::from_millis(100));
        assert!(after < normal, "{how:?}: {after:?}, was {before:?}");
        assert!(back.elapsed() < RECOVERY * 3, "{:?}", back.elapsed());
    }

    load.rest();
    let account = load.account().await;
    let statuses: Vec<_> = account.answered.keys().copied().collect();
    assert_eq!(statuses, [200, 201, 503], "{account}");
    assert_eq!((account.refused, account.failed.len()), (0, 0), "{account}");
    assert_eq!(service.stop().await.code, Some(0));
}
