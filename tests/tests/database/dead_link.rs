//! A connection that transmits nothing and is not closed: a firewall has dropped its state, or a
//! cable was pulled.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::eventually;
use harness::http::{self, Answer, Request};
use harness::postgres::Postgres;
use harness::proxy::Proxy;
use harness::service::Service;
use tokio::task::JoinSet;

use crate::{SLACK, assert_probes_passed, at_once, pool, probe, timed, until_in_use, with_url};

const CONNECTIONS: usize = 3;
const ACQUIRE: Duration = Duration::from_secs(1);
const REQUEST: Duration = Duration::from_secs(2);

struct Link {
    _postgres: Postgres,
    proxy: Proxy,
    service: Service,
    address: SocketAddr,
}

impl Link {
    /// Starts a service whose pool is full and used only by requests and probes.
    async fn new() -> Link {
        let postgres = Postgres::start().await.unwrap();
        let proxy = Proxy::to(postgres.address()).await.unwrap();
        let launch = with_url(postgres.url_through(proxy.address(), "postgres"))
            .set("database.max_connections", CONNECTIONS)
            .set("database.acquire_timeout", "1s")
            .set("http.request_timeout", "2s")
            .set("health.period", "500ms");
        let service = launch.ready().await;
        for task in ["announcer", "follower"] {
            pause(&service, task).await;
        }
        let address = service.http().await;
        // A delay, so that each request needs a connection of its own.
        proxy.delay(Duration::from_millis(50));
        eventually("all connections", async || {
            at_once(address, CONNECTIONS).await;
            (pool(&service, "size").await == CONNECTIONS as u64).then_some(())
        })
        .await;
        proxy.delay(Duration::ZERO);
        Link {
            _postgres: postgres,
            proxy,
            service,
            address,
        }
    }

    /// Asserts that every connection works again, and that each response comes within the time to
    /// acquire one.
    async fn works(&self) {
        let began = Instant::now();
        for (answer, took) in at_once(self.address, CONNECTIONS).await {
            assert_eq!(answer.status, 200, "{answer}");
            assert!(took < ACQUIRE, "took {took:?}");
        }
        until_in_use(&self.service, 0).await;
        assert!(began.elapsed() < ACQUIRE + SLACK, "{:?}", began.elapsed());
    }
}

/// Pauses a task, and waits until it is paused.
async fn pause(service: &Service, task: &str) {
    let order = Request::post(&format!("/api/tasks/{task}/pause"));
    let ordered = http::send(service.operator().await, order).await;
    assert_eq!(ordered.unwrap().status, 202);
    eventually(&format!("{task} to be paused"), async || {
        let state = service.ask("/api/state").await.json();
        let mut tasks = state["tasks"].as_array()?.iter();
        let task = tasks.find(|it| it["name"] == task)?;
        (task["state"] == "paused").then_some(())
    })
    .await;
}

#[track_caller]
fn refused(answers: Vec<(Answer, Duration)>, within: Duration) {
    for (answer, took) in answers {
        assert!([503, 504].contains(&answer.status), "{answer}");
        assert!(took < within + SLACK, "{} took {took:?}", answer.status);
    }
}

#[tokio::test]
async fn dead_link_costs_bounded_time_and_no_connection() {
    let link = Link::new().await;
    for _ in 0..2 {
        let probing = probe(&link.service).await;
        link.proxy.black_hole();
        // The first requests find connections that seem alive; later ones find none.
        for _ in 0..2 {
            let answers = at_once(link.address, CONNECTIONS * 2).await;
            refused(answers, REQUEST);
        }
        assert_probes_passed(probing).await;
        link.proxy.heal();
        link.works().await;
    }
    assert_eq!(link.service.stop().await.code, Some(0));
}

#[tokio::test]
async fn dead_idle_connections_are_replaced_at_checkout() {
    let link = Link::new().await;
    link.proxy.black_hole();
    // An idle connection is tested before use once it has been idle for a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    refused(at_once(link.address, 2).await, ACQUIRE);
    link.proxy.heal();
    link.works().await;
    assert!(pool(&link.service, "discarded_dead").await > 0);
}

#[tokio::test]
async fn pool_recovers_from_a_link_lost_during_statements() {
    let link = Link::new().await;
    for round in 0..3 {
        // Statements and their responses are in transit.
        link.proxy.delay(Duration::from_millis(50));
        let mut requests = JoinSet::new();
        for number in 0..20 {
            let add = crate::new_target(&format!("http://{round}.example.org/{number}"));
            let request = [Request::get("/v1/targets"), add][number % 2].clone();
            requests.spawn(timed(link.address, request));
        }
        until_in_use(&link.service, CONNECTIONS).await;
        let probing = probe(&link.service).await;

        link.proxy.black_hole();

        for (answer, took) in requests.join_all().await {
            let expected = [200, 201, 503, 504].contains(&answer.status);
            assert!(expected, "{answer}");
            assert!(took < REQUEST + SLACK, "{} took {took:?}", answer.status);
        }
        assert_probes_passed(probing).await;
        link.proxy.delay(Duration::ZERO);
        link.proxy.heal();
        link.works().await;
    }
}

#[tokio::test]
async fn stop_does_not_wait_for_a_dead_link() {
    for busy in [false, true] {
        let link = Link::new().await;
        link.proxy.black_hole();
        let address = link.address;
        let count = if busy { CONNECTIONS * 2 } else { 0 };
        let requests = tokio::spawn(at_once(address, count));
        if busy {
            until_in_use(&link.service, CONNECTIONS).await;
        }

        let exit = link.service.stop().await;

        // Requests wait for their timeout, then for at most one test of a connection.
        let within = if busy { REQUEST + ACQUIRE } else { ACQUIRE };
        assert!(exit.took < within + SLACK, "took {:?}: {exit}", exit.took);
        assert_eq!(exit.code, Some(0), "{exit}");
        refused(requests.await.unwrap(), REQUEST);
    }
}
