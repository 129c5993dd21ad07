//! Slow statements that exhaust the pool.

use std::time::Duration;

use harness::eventually;
use harness::http::Request;
use harness::postgres::Postgres;

use crate::{SLACK, assert_probes_passed, at_once, on_postgres, pool, probe, timed, while_locked};

const CONNECTIONS: usize = 3;
const ACQUIRE: Duration = Duration::from_millis(500);
const STATEMENT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn exhausted_pool_refuses_in_time_and_probes_stay_fast() {
    let postgres = Postgres::start().await.unwrap();
    let launch = on_postgres(&postgres)
        .set("database.max_connections", CONNECTIONS)
        .set("database.acquire_timeout", "500ms")
        .set("database.statement_timeout", "3s")
        .set("health.period", "200ms");
    let service = launch.ready().await;
    let address = service.http().await;
    while_locked(&postgres, async || {
        let probing = probe(&service).await;
        // The health check may hold one of the connections for a moment.
        let stuck = tokio::spawn(at_once(address, CONNECTIONS * 2));
        eventually("all connections to be in use", async || {
            let waiting = pool(&service, "waiting").await;
            let in_use = pool(&service, "in_use").await;
            (waiting > 0 && in_use == CONNECTIONS as u64).then_some(())
        })
        .await;
        for _ in 0..2 {
            for (answer, took) in at_once(address, 10).await {
                assert_eq!(answer.status, 503, "{answer}");
                assert!(answer.header("retry-after").is_some(), "{answer}");
                assert!(took < ACQUIRE + SLACK, "took {took:?}");
            }
        }
        for (answer, took) in stuck.await.unwrap() {
            assert!([503, 504].contains(&answer.status), "{answer}");
            assert!(took < STATEMENT + SLACK, "took {took:?}");
        }
        assert_probes_passed(probing).await;
        assert!(pool(&service, "timeouts").await >= 20);
    })
    .await;

    let (answer, took) = timed(address, Request::get("/v1/targets")).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert!(took < ACQUIRE, "took {took:?}");
    assert_eq!(service.stop().await.code, Some(0));
}
