//! Clients that disconnect while their requests are in flight.

use std::net::SocketAddr;

use harness::eventually;
use harness::http;
use harness::postgres::Postgres;
use tokio::task::JoinSet;

use crate::{add, leave, on_postgres, pool, post_and_leave, urls};

const CLIENTS: u64 = 8;
const REQUESTS: u64 = 125;

/// The approximate time of a request in microseconds: clients disconnect at a random point of it.
const LIFE: u64 = 3000;

#[tokio::test]
async fn thousand_disconnecting_clients_leave_no_transaction() {
    let postgres = Postgres::start().await.unwrap();
    let launch = on_postgres(&postgres.url("postgres")).set("database.max_connections", 4);
    let service = launch.ready().await;
    let address = service.http().await;
    let mut known = Vec::new();
    for number in 0..10 {
        let url = format!("http://known.example.org/{number}");
        known.push((add(address, &url).await, url));
    }

    let leaving = (0..CLIENTS).map(|client| leave_often(address, client));
    let leaving: JoinSet<()> = leaving.collect();
    let reader = read_known(address, &known);
    tokio::pin!(reader);
    tokio::select! {
        _ = leaving.join_all() => {}
        () = &mut reader => unreachable!("its loop does not end"),
    }

    eventually("all connections to be returned to the pool", async || {
        (pool(&service, "in_use").await == 0).then_some(())
    })
    .await;
    let sessions = "SELECT state, query FROM pg_stat_activity \
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'";
    assert_eq!(postgres.query("postgres", sessions).await.unwrap(), "");
    for (id, url) in &known {
        assert_is(address, *id, url).await;
    }
    // Committed rows are visible to all connections.
    add(address, "http://last/").await;
    let count = postgres
        .query("postgres", "SELECT count(*) FROM targets")
        .await;
    let count: usize = count.unwrap().parse().unwrap();
    for _ in 0..8 {
        assert_eq!(urls(address).await.len(), count);
    }
    assert!(
        count > known.len() + 1,
        "no target was added before its client disconnected"
    );
    assert_eq!(service.stop().await.code, Some(0));
}

/// Runs clients one after another. Each disconnects after a random delay.
async fn leave_often(address: SocketAddr, client: u64) {
    for number in 0..REQUESTS {
        if number % 2 == 0 {
            leave(
                address,
                "GET /v1/targets HTTP/1.1\r\nhost: leaver\r\n\r\n",
                LIFE,
            )
            .await;
        } else {
            let url = format!("http://{client}.example.org/{number}");
            post_and_leave(address, &url, "", LIFE).await;
        }
    }
}

/// Requests targets that already exist, and must never receive another client's response.
async fn read_known(address: SocketAddr, known: &[(i64, String)]) {
    for (id, url) in known.iter().cycle() {
        assert_is(address, *id, url).await;
    }
}

async fn assert_is(address: SocketAddr, id: i64, url: &str) {
    let answer = http::get(address, &format!("/v1/targets/{id}"))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    let target = answer.json();
    assert_eq!((&target["id"], &target["url"]), (&id.into(), &url.into()));
}
