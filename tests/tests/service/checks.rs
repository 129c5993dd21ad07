//! One or several processes check targets, and checks continue after each kind of stop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::eventually;
use harness::fleet;
use harness::http::{self, Request};
use harness::postgres::Postgres;
use harness::service::{Launch, Service, Signal};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::exports::sql;

/// A watched server: it answers each request with 200, or delays it on demand.
struct Watched {
    address: SocketAddr,
    asked: Asked,
    answers: watch::Sender<bool>,
    _life: JoinSet<()>,
}

/// The number of requests for each path.
type Asked = Arc<Mutex<BTreeMap<String, usize>>>;

impl Watched {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let answers = watch::Sender::new(true);
        let mut life = JoinSet::new();
        let (counted, waits) = (Arc::clone(&asked), answers.subscribe());
        life.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                conversations.spawn(converse(stream, Arc::clone(&counted), waits.clone()));
            }
        });
        Self {
            address,
            asked,
            answers,
            _life: life,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn times(&self, path: &str) -> usize {
        self.asked.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// Waits until this path was requested this many times.
    async fn wait_for_requests(&self, path: &str, times: usize) {
        let what = format!("{times} requests for {path}");
        eventually(&what, async || (self.times(path) >= times).then_some(())).await;
    }
}

async fn converse(
    mut stream: TcpStream,
    asked: Asked,
    mut answers: watch::Receiver<bool>,
) -> Option<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(first) = lines.next_line().await.ok()? {
        let path = first.split(' ').nth(1)?.to_owned();
        while !lines.next_line().await.ok()??.is_empty() {}
        *asked.lock().unwrap().entry(path).or_default() += 1;
        answers.wait_for(|answers| *answers).await.ok()?;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        writer.write_all(answer).await.ok()?;
    }
    Some(())
}

/// A monitor with its scheduler, which may request addresses on this machine.
fn monitor() -> Launch {
    Service::of(fleet::MONITOR.binary()).set("monitor.allow_private", true)
}

async fn add(service: &Service, url: &str) -> i64 {
    add_as(service, &json!({ "url": url })).await
}

async fn add_as(service: &Service, target: &Value) -> i64 {
    let new = Request::post("/v1/targets").json(target);
    let answer = http::send(service.http().await, new).await.unwrap();
    assert_eq!(answer.status, 201, "{answer}");
    answer.json()["id"].as_i64().unwrap()
}

/// The results of a target, newest first.
async fn results(service: &Service, target: i64) -> Vec<Value> {
    let path = format!("/v1/targets/{target}/checks");
    let answer = http::get(service.http().await, &path).await.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    answer.json()["checks"].as_array().unwrap().clone()
}

/// Waits until a target has this many results.
async fn wait_for_results(service: &Service, target: i64, count: usize) -> Vec<Value> {
    eventually(&format!("{count} results"), async || {
        let found = results(service, target).await;
        (found.len() >= count).then_some(found)
    })
    .await
}

#[tokio::test]
async fn local_addresses_are_refused_unless_allowed() {
    for (is_allowed, times) in [(false, 0), (true, 2)] {
        let watched = Watched::listen().await;
        let launch = monitor().set("monitor.allow_private", is_allowed);
        let service = launch.ready().await;
        // A target is checked when it is new, and on request.
        let target = add(&service, &watched.url("/")).await;
        wait_for_results(&service, target, 1).await;
        let ask = Request::post(&format!("/v1/targets/{target}/checks"));
        let asked = http::send(service.http().await, ask).await.unwrap();
        assert_eq!(asked.status, 202, "{asked}");
        for result in wait_for_results(&service, target, 2).await {
            assert_eq!(result["is_up"], is_allowed, "{result}");
            assert_eq!(result["reason"] == "refused_address", !is_allowed);
        }
        assert_eq!(watched.times("/"), times);
    }
}

#[tokio::test]
async fn stop_finishes_running_checks() {
    let watched = Watched::listen().await;
    watched.answers.send_replace(false);
    let directory = tempfile::tempdir().unwrap();
    let launch = monitor().directory(directory.path());
    let service = launch.clone().ready().await;
    let target = add(&service, &watched.url("/")).await;
    watched.wait_for_requests("/", 1).await;

    service.signal(Signal::TERM);
    service.event("draining").await;
    watched.answers.send_replace(true);

    let exit = service.exit().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    let service = launch.ready().await;
    assert_eq!(results(&service, target).await.len(), 1);
    assert_eq!(watched.times("/"), 1);
}

#[tokio::test]
async fn unfinished_checks_run_after_the_next_start() {
    let watched = Watched::listen().await;
    watched.answers.send_replace(false);
    let directory = tempfile::tempdir().unwrap();
    let launch = monitor()
        .directory(directory.path())
        .set("shutdown.tasks", "1s")
        // One check is in flight, and the others wait, for longer than this test runs.
        .set("monitor.checks_at_once", 1)
        .set("monitor.default_timeout", "60s")
        .set("monitor.lease", "1h");
    let service = launch.clone().ready().await;
    let mut targets = Vec::new();
    for path in ["/a", "/b", "/c"] {
        targets.push(add(&service, &watched.url(path)).await);
    }
    let taken_on = "SELECT count(*) FROM schedule WHERE leased_until > 0";
    eventually("three queued checks", async || {
        let taken = sql(&service, taken_on).await;
        (taken.trim() == "3").then_some(())
    })
    .await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    // A stop does not wait for a check.
    assert!(exit.took < Duration::from_secs(20), "took {:?}", exit.took);

    watched.answers.send_replace(true);
    let service = launch.ready().await;
    for target in targets {
        wait_for_results(&service, target, 1).await;
    }
    assert_eq!(service.stop().await.code, Some(0));
}

const TARGETS: usize = 30;

/// Three replicas on one Postgres.
async fn replicas(postgres: &Postgres) -> Vec<Service> {
    let launch = Service::of(fleet::MONITOR_ON_POSTGRES.binary())
        .env("APP__DATABASE__URL", postgres.url("postgres"))
        .set("monitor.allow_private", true)
        .set("monitor.lease", "4s")
        .set("monitor.per_host", TARGETS)
        // On a slow machine, delayed requests time out: then that is their result.
        .set("monitor.retries", 0)
        .set("monitor.breaker_failures", 1_000_000);
    let [one, two, three] = [(); 3].map(|()| launch.clone().ready());
    let (one, two, three) = tokio::join!(one, two, three);
    vec![one, two, three]
}

async fn stop(replicas: Vec<Service>) {
    for replica in replicas {
        let exit = replica.stop().await;
        assert_eq!(exit.code, Some(0), "{exit}");
    }
}

/// Waits until each target was checked this many times since then.
async fn wait_for_checks(postgres: &Postgres, since: &str, times: usize) {
    let query = format!(
        "SELECT count(*) FROM (
             SELECT target_id FROM checks WHERE due_at > {since}
             GROUP BY target_id HAVING count(*) >= {times}
         ) AS checked"
    );
    let all = TARGETS.to_string();
    eventually("checks of every target", async || {
        let checked = postgres.query("postgres", &query).await.unwrap();
        (checked == all).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replicas_run_each_check_once() {
    let watched = Watched::listen().await;
    let postgres = Postgres::start().await.unwrap();
    let running = replicas(&postgres).await;
    for number in 0..TARGETS {
        let url = watched.url(&format!("/{number}"));
        add_as(&running[0], &json!({ "url": url, "enabled": false })).await;
    }
    // More often than the API allows, and before the first check.
    let often = "UPDATE targets SET interval_seconds = 1, timeout_seconds = 5, enabled = true";
    postgres.query("postgres", often).await.unwrap();
    wait_for_checks(&postgres, "0", 4).await;
    stop(running).await;

    // Each request has one result: no duplicate requests, and no lost results.
    let without = requests_without_result(&postgres, &watched).await;
    assert_eq!(without, [0; TARGETS]);
    assert_periods(&postgres).await;

    let mut running = replicas(&postgres).await;
    watched.answers.send_replace(false);
    let asked = || watched.asked.lock().unwrap().values().sum::<usize>();
    let before = asked();
    eventually("checks in flight", async || {
        (asked() > before + TARGETS / 2).then_some(())
    })
    .await;
    // The first replica may have leased all due targets.
    let busy = eventually("a replica with checks in flight", async || {
        for (index, replica) in running.iter().enumerate() {
            if checks_in_flight(replica).await > 0 {
                return Some(index);
            }
        }
        None
    });
    let killed = running.remove(busy.await);
    killed.signal(Signal::KILL);
    assert_eq!(killed.exit().await.signal, Some(9));
    watched.answers.send_replace(true);

    let now = "(SELECT max(leased_until) FROM schedule)";
    let now = postgres.query("postgres", now).await.unwrap();
    wait_for_checks(&postgres, &now, 2).await;
    stop(running).await;
    // Checks that the killed replica had in flight or not stored were requested once more.
    let without = requests_without_result(&postgres, &watched).await;
    assert!(without.iter().all(|more| *more <= 1), "{without:?}");
    let again = without.iter().sum::<usize>();
    assert!(again > 0, "the killed replica had no checks in flight");
    assert_periods(&postgres).await;
}

/// The number of checks in flight on this replica.
async fn checks_in_flight(replica: &Service) -> usize {
    let metrics = replica.ask("/metrics").await;
    let text = metrics.text();
    let counted = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |count| count.trim().parse::<usize>().unwrap())
    };
    let begun = counted("monitor_attempts_total{kind=\"first\"}");
    begun.saturating_sub(counted("monitor_check_duration_seconds_count"))
}

/// The number of requests without a result, by target.
async fn requests_without_result(postgres: &Postgres, watched: &Watched) -> Vec<usize> {
    let counted = "SELECT substring(url from '[^/]*$'), count(*) FROM checks
         JOIN targets ON id = target_id GROUP BY url";
    let counted = postgres.query("postgres", counted).await.unwrap();
    let beside = counted.lines().map(|line| {
        let (path, count) = line.split_once('|').unwrap();
        let asked = watched.times(&format!("/{path}"));
        let results = count.parse().unwrap();
        asked
            .checked_sub(results)
            .expect("a result without a request")
    });
    beside.collect()
}

/// Jitter is the only deviation by which a period may be shorter.
async fn assert_periods(postgres: &Postgres) {
    let early = "SELECT count(*) FROM (
             SELECT due_at - lag(due_at) OVER (PARTITION BY target_id ORDER BY due_at) AS period
             FROM checks
         ) AS periods WHERE period < 900";
    let early = postgres.query("postgres", early).await.unwrap();
    assert_eq!(early, "0");
}
