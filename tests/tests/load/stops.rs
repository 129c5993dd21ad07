//! A hundred stops under load with a delay for load balancers, and a hundred without.

use std::time::{Duration, Instant};

use harness::http::get;
use harness::load::{Account, Load};
use harness::service::Signal;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::service;

const STOPS: usize = 100;

/// Services that are stopped at the same time.
const AT_ONCE: usize = 4;

/// Connections to each of them.
const CLIENTS: usize = 16;

/// `shutdown.delay` for services behind a load balancer.
const DELAY: Duration = Duration::from_millis(500);

/// The interval of a load balancer's probes.
const PROBES: Duration = Duration::from_millis(250);

/// The maximum number of resets for all stops, as listeners close.
const RESETS: usize = STOPS / 10;

/// The maximum of late requests per thousand, for a busy machine.
const LATE: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_delay_no_request_of_100_stops_fails() {
    let account = stops(DELAY).await;
    assert_eq!((account.refused, account.failed.len()), (0, 0), "{account}");
    assert!(account.late * 1000 <= account.answers() * LATE, "{account}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_delay_only_new_connections_of_100_stops_fail() {
    let account = stops(Duration::ZERO).await;
    assert_eq!(account.refused, STOPS * CLIENTS, "{account}");
    // The kernel may establish a connection between the last `accept` and the close, and reset it.
    let is_new = |failure: &String| failure.starts_with("after 0 answers");
    assert!(account.failed.iter().all(is_new), "{account}");
    assert!(account.failed.len() <= RESETS, "{account}");
    assert!(account.late * 1000 <= account.answers() * LATE, "{account}");
}

/// The outcomes of the requests of all stops.
async fn stops(delay: Duration) -> Account {
    let lanes = (0..AT_ONCE).map(|lane| async move {
        let mut total = Account::default();
        for number in (lane..STOPS).step_by(AT_ONCE) {
            total += stop_under_load(delay, number).await;
        }
        total
    });
    let mut total = Account::default();
    for account in lanes.collect::<JoinSet<_>>().join_all().await {
        total += account;
    }
    println!("with a delay of {delay:?}: {total}");
    total
}

/// Stops a service under load. Its clients reconnect until they are refused, or until the load
/// balancer has noticed a failed probe.
async fn stop_under_load(delay: Duration, number: usize) -> Account {
    let launch = service()
        .set("shutdown.delay", format!("{}ms", delay.as_millis()))
        // A slow disk must not fail requests here.
        .set("database.acquire_timeout", "9s");
    let running = launch.ready().await;
    let (http, operator) = (running.http().await, running.operator().await);
    let load = Load::on(http, CLIENTS);
    // Each stop comes at a different point of the work.
    load.answers(CLIENTS + 3 * number).await;

    let signalled = Instant::now();
    running.signal(Signal::TERM);

    let is_balanced = !delay.is_zero();
    if is_balanced {
        while get(operator, "/readyz").await.unwrap().status == 200 {
            sleep(PROBES).await;
        }
        load.rest();
    }
    let noticed = signalled.elapsed();
    let mut account = load.account().await;
    if is_balanced && noticed >= delay {
        // The load balancer noticed too late.
        account.late += std::mem::take(&mut account.refused);
    }
    let exit = running.exit().await;
    assert_eq!(exit.code, Some(0), "stop {number}: {exit}");
    for status in account.answered.keys() {
        assert!([200, 201].contains(status), "stop {number}: {account}");
    }
    account
}
