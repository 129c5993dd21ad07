//! Requests that clients repeat because they did not receive the response. Each is executed once,
//! even if the client disconnects, the process is killed, or another replica receives the
//! repetition.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use harness::eventually;
use harness::http::{self, Answer, Request};
use harness::postgres::Postgres;
use harness::service::{Launch, Service, Signal};
use harness::variant;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::{
    AT_ONCE, UNLOCK, new_target, on_postgres, on_sqlite, post_and_leave, random_part, timed, urls,
    while_locked,
};

const CRASHES: usize = 50;
const WRITERS: usize = 4;

fn keyed(key: &str, url: &str) -> Request {
    new_target(url).header("idempotency-key", key)
}

async fn send(address: SocketAddr, key: &str, url: &str) -> Answer {
    http::send(address, keyed(key, url)).await.unwrap()
}

fn is_in_use(answer: &Answer) -> bool {
    answer.status == 409 && answer.json()["code"] == "idempotency_key_in_use"
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

/// Repeats a request until it is answered, and returns the response.
async fn send_until_answered(
    address: &watch::Receiver<SocketAddr>,
    key: &str,
    url: &str,
) -> Answer {
    loop {
        let current = *address.borrow();
        match http::send(current, keyed(key, url)).await {
            Ok(answer) if answer.status != 503 && !is_in_use(&answer) => return answer,
            // The test needs this pause: the service asks to retry later, or is not running.
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// The parts of a response that a repetition must reproduce.
fn seen(answer: &Answer) -> (u16, Vec<String>, Vec<u8>) {
    let told_anew = ["date", "x-request-id", "idempotent-replayed"];
    let headers = answer.headers.iter();
    let headers = headers.filter(|(name, _)| !told_anew.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| format!("{name}: {value:?}"));
    let mut headers: Vec<_> = headers.collect();
    headers.sort();
    (answer.status, headers, answer.body.to_vec())
}

#[tokio::test]
async fn repeated_request_gets_the_same_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let launch = on_sqlite().directory(directory.path());
    let service = launch.clone().ready().await;
    let address = service.http().await;
    let first = send(address, "one", "http://a/").await;
    assert_eq!(first.status, 201, "{first}");
    assert!(!is_replayed(&first), "{first}");
    let second = send(address, "two", "http://b/").await;
    for (key, url, before) in [("one", "http://a/", &first), ("two", "http://b/", &second)] {
        let again = send(address, key, url).await;
        assert!(is_replayed(&again), "{again}");
        assert_eq!(seen(&again), seen(before));
    }
    let reused = send(address, "one", "http://b/").await;
    assert_eq!(reused.json()["code"], "idempotency_key_reused", "{reused}");

    let metrics = service.ask("/metrics").await;
    for (outcome, count) in [("first", 2), ("replayed", 2), ("in_use", 0), ("reused", 1)] {
        let line = format!("idempotency_requests_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(metrics.text().contains(&line), "{line} is not in {metrics}");
    }
    assert_eq!(service.stop().await.code, Some(0));

    // The keys are in the database, so the next process knows them as well, until they expire.
    let sqlite = Service::of("sqlite3").arg(directory.path().join("data/service.db"));
    let age =
        "UPDATE idempotency SET kept_at = kept_at - CASE key WHEN 'two' THEN 86401 ELSE 86000 END";
    let aged = sqlite.arg(age).run().await.unwrap();
    assert_eq!((aged.code, aged.stderr.as_str()), (Some(0), ""));
    let service = launch.ready().await;
    let address = service.http().await;
    eventually("the key to expire", async || {
        let added = send(address, "two", "http://c/").await;
        (added.status == 201).then_some(())
    })
    .await;
    let again = send(address, "one", "http://a/").await;
    assert_eq!(seen(&again), seen(&first));
    assert_eq!(urls(address).await, ["http://a/", "http://b/", "http://c/"]);
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn one_of_a_hundred_concurrent_repeats_runs() {
    let postgres = Postgres::start().await.unwrap();
    for (launch, count) in [(on_sqlite(), 1), (on_postgres(&postgres), 2)] {
        let mut replicas = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..count {
            let replica = launch.clone().ready().await;
            addresses.push(replica.http().await);
            replicas.push(replica);
        }

        let all = (0..100).map(|number| {
            let (_, address) = watch::channel(addresses[number % count]);
            async move { send_until_answered(&address, "one", "http://a/").await }
        });
        let answers = all.collect::<JoinSet<_>>().join_all().await;

        let replayed = answers.iter().filter(|answer| is_replayed(answer));
        assert_eq!(replayed.count(), 99, "with {count} replicas");
        for answer in &answers {
            assert_eq!(answer.status, 201, "{answer}");
            assert_eq!(seen(answer), seen(&answers[0]));
        }
        assert_eq!(urls(addresses[0]).await, ["http://a/"]);
        for replica in replicas {
            assert_eq!(replica.stop().await.code, Some(0));
        }
    }
}

#[tokio::test]
async fn key_in_use_by_another_replica_is_refused() {
    let postgres = Postgres::start().await.unwrap();
    let launch = on_postgres(&postgres)
        .set("database.statement_timeout", "20s")
        .set("http.request_timeout", "30s");
    let first = launch.clone().ready().await;
    let second = launch.ready().await;
    let (at_first, at_second) = (first.http().await, second.http().await);

    // The request completes, …
    let answer = while_locked(&postgres, async || {
        let working = tokio::spawn(async move { send(at_first, "one", "http://a/").await });
        waits(&postgres).await;
        let (refused, took) = timed(at_second, keyed("one", "http://a/")).await;
        assert!(is_in_use(&refused), "{refused}");
        assert_eq!(refused.header("retry-after"), Some("1"), "{refused}");
        assert!(took < AT_ONCE, "took {took:?}");
        postgres.query("postgres", UNLOCK).await.unwrap();
        working.await.unwrap()
    })
    .await;
    assert_eq!(answer.status, 201, "{answer}");
    let again = send(at_second, "one", "http://a/").await;
    assert!(is_replayed(&again), "{again}");
    assert_eq!(seen(&again), seen(&answer));

    // … or its process is killed meanwhile.
    while_locked(&postgres, async || {
        let working = http::send(at_first, keyed("two", "http://b/"));
        let kill = async {
            waits(&postgres).await;
            first.signal(Signal::KILL);
        };
        assert!(tokio::join!(working, kill).0.is_err());
    })
    .await;
    let (_, address) = watch::channel(at_second);
    let answer = send_until_answered(&address, "two", "http://b/").await;
    assert_eq!(answer.status, 201, "{answer}");
    assert!(!is_replayed(&answer), "{answer}");
    assert_eq!(urls(at_second).await, ["http://a/", "http://b/"]);
    assert_eq!(first.exit().await.signal, Some(9));
    assert_eq!(second.stop().await.code, Some(0));
}

/// Waits until a request is blocked by the lock.
async fn waits(postgres: &Postgres) {
    let waiting = "SELECT count(*) FROM pg_locks \
         WHERE relation = 'targets'::regclass AND NOT granted";
    eventually("a request to wait for the table", async || {
        (postgres.query("postgres", waiting).await.unwrap() == "1").then_some(())
    })
    .await;
}

/// The approximate time of a request in microseconds, on a fast machine: clients disconnect at a
/// random point of it. The longest delay differs, so that some requests end before it on a slow
/// machine as well.
const LIFE: u64 = 5000;

#[tokio::test]
async fn disconnected_clients_can_repeat() {
    const CLIENTS: usize = 100;
    let postgres = Postgres::start().await.unwrap();
    for launch in [on_sqlite(), on_postgres(&postgres)] {
        let service = launch.ready().await;
        let (_, address) = watch::channel(service.http().await);
        let current = *address.borrow();
        let mut replayed = 0;
        for client in 0..CLIENTS {
            let (key, url) = (format!("key-{client}"), format!("http://{client}.example/"));
            let head = format!("idempotency-key: {key}\r\n");
            post_and_leave(current, &url, &head, LIFE << (client % 6)).await;

            // A second execution would have been refused.
            let answer = send_until_answered(&address, &key, &url).await;
            assert_eq!(answer.status, 201, "{answer}");
            replayed += usize::from(is_replayed(&answer));
        }
        assert_eq!(urls(current).await.len(), CLIENTS);
        assert!(
            replayed > 0,
            "each client left before its request was executed"
        );
        assert_eq!(service.stop().await.code, Some(0));
    }
}

#[tokio::test]
async fn kills_repeat_no_effect_and_block_no_key_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let launch = on_sqlite().directory(directory.path());
    survives(&launch, async || {
        // On a copy, since opening the original would also recover it.
        let copy = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        variant::copy(&data, variant::files(&data), copy.path()).unwrap();
        assert_eq!(integrity(&copy.path().join("service.db")).await, "ok\n");
    })
    .await;
    let database = directory.path().join("data/service.db");
    assert_eq!(integrity(&database).await, "ok\n");
}

#[tokio::test]
async fn kills_repeat_no_effect_and_block_no_key_on_postgres() {
    let postgres = Postgres::start().await.unwrap();
    survives(&on_postgres(&postgres), async || {}).await;
}

/// Kills the service during writes, repeatedly, while each client repeats its request until it is
/// answered. Each request must be executed once, and no acknowledged row may be lost.
async fn survives(launch: &Launch, look: impl AsyncFn()) {
    let no_server = SocketAddr::from(([127, 0, 0, 1], 1));
    let (moved, address) = watch::channel(no_server);
    let (over, is_over) = watch::channel(false);
    // The URLs of the requests that were answered.
    let (sender, mut responses) = mpsc::unbounded_channel();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (address, is_over, sender) = (address.clone(), is_over.clone(), sender.clone());
        writers.spawn(async move {
            for number in 0.. {
                let key = format!("{writer}-{number}");
                let url = format!("http://{writer}.example.org/{number}");
                let answer = send_until_answered(&address, &key, &url).await;
                // A second execution would have been refused.
                assert_eq!(answer.status, 201, "{answer}");
                _ = sender.send(url);
                if *is_over.borrow() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut answered = Vec::new();
    for crash in 0..CRASHES {
        let service = launch.clone().ready().await;
        moved.send_replace(service.http().await);
        answered.extend(std::iter::from_fn(|| responses.try_recv().ok()));
        for _ in 0..=crash {
            answered.push(responses.recv().await.expect("an answer"));
        }
        // The test needs this pause: each crash comes at a random point of a request.
        tokio::time::sleep(random_part(LIFE)).await;
        service.signal(Signal::KILL);
        assert_eq!(service.exit().await.signal, Some(9));
        look().await;
    }
    let service = launch.clone().ready().await;
    moved.send_replace(service.http().await);
    over.send_replace(true);
    while let Some(url) = responses.recv().await {
        answered.push(url);
    }
    writers.join_all().await;

    let mut there = urls(service.http().await).await;
    there.sort();
    answered.sort();
    assert_eq!(there, answered, "each once");
    assert_eq!(service.stop().await.code, Some(0));
}

async fn integrity(database: &Path) -> String {
    let sqlite = Service::of("sqlite3").arg(database);
    let checked = sqlite.arg("PRAGMA integrity_check").run().await.unwrap();
    format!("{}{}", checked.stdout, checked.stderr)
}
