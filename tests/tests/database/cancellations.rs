//! Clients that disconnect while their requests are in flight.

use std::net::SocketAddr;

use harness::http;
use harness::postgres::Postgres;
use tokio::task::JoinSet;

use crate::{add, leave, on_postgres, post_and_leave, until_in_use, urls};

const CLIENTS: u64 = 8;
const REQUESTS: u64 = 125;

/// The approximate time of a request in microseconds, on a fast machine: clients disconnect at a
/// random point of it.
const LIFE: u64 = 3000;

#[tokio::test]
async fn thousand_disconnecting_clients_leave_no_transaction() {
    let postgres = Postgres::start().await.unwrap();
    let launch = on_postgres(&postgres).set("database.max_connections", 4);
    let service = launch.ready().await;
    let address = service.http().await;
    let mut known = Vec::new();
    for number in 0..10 {
        let url = format!("http://known.example.org/{number}");
        known.push((add(address, &url).await, url));
    }

    let leaving = (0..CLIENTS).map(|client| leave_often(address, client));
    let leaving: JoinSet<()> = leaving.collect();
    // Other clients must never receive the response of one that has left.
    let reader = async {
        for (id, url) in known.iter().cycle() {
            assert_is(address, *id, url).await;
        }
    };
    tokio::select! {
        _ = leaving.join_all() => {}
        () = reader => unreachable!("its loop does not end"),
    }

    until_in_use(&service, 0).await;
    let sessions = "SELECT state, query FROM pg_stat_activity \
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'";
    assert_eq!(postgres.query("postgres", sessions).await.unwrap(), "");
    for (id, url) in &known {
        assert_is(address, *id, url).await;
    }
    // Committed rows are visible to all connections.
    add(address, "http://last/").await;
    let count = "SELECT count(*) FROM targets";
    let count = postgres.query("postgres", count).await.unwrap();
    let count: usize = count.parse().unwrap();
    for _ in 0..8 {
        assert_eq!(urls(address).await.len(), count);
    }
    assert!(count > known.len() + 1, "each client left too early");
    assert_eq!(service.stop().await.code, Some(0));
}

/// Runs clients one after another. Each disconnects after a random delay. The longest delay differs, so
/// that some requests end before it on a slow machine as well.
async fn leave_often(address: SocketAddr, client: u64) {
    let life = LIFE << client.min(5);
    for number in 0..REQUESTS {
        if number % 2 == 0 {
            let list = "GET /v1/targets HTTP/1.1\r\nhost: leaver\r\n\r\n";
            leave(address, list, life).await;
        } else {
            let url = format!("http://{client}.example.org/{number}");
            post_and_leave(address, &url, "", life).await;
        }
    }
}

async fn assert_is(address: SocketAddr, id: i64, url: &str) {
    let answer = http::get(address, &format!("/v1/targets/{id}")).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    let target = answer.json();
    assert_eq!((&target["id"], &target["url"]), (&id.into(), &url.into()));
}
