//! A server that restarts while the service is under load.

use std::time::{Duration, Instant};

use harness::http::Request;
use harness::load::Load;
use harness::postgres::{Postgres, Stop};

use crate::{add, on_postgres, timed};

/// The time limit for the recovery after a restart of the server.
const RECOVERY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn server_restart_costs_only_503_for_two_seconds() {
    let mut postgres = Postgres::options().durable().start().await.unwrap();
    let launch = on_postgres(&postgres.url("postgres")).set("monitor.max_targets", 1_000_000);
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
    assert!(
        account.failed.is_empty() && account.refused == 0,
        "{account}"
    );
    assert_eq!(service.stop().await.code, Some(0));
}
