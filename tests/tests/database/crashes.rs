//! A process that is killed repeatedly while it writes.

use std::net::SocketAddr;
use std::path::Path;

use harness::http::{Http1, Kind};
use harness::postgres::Postgres;
use harness::service::{Launch, Service, Signal};
use harness::variant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::{new_target, on_postgres, on_sqlite, urls};

const CRASHES: usize = 50;
const WRITERS: usize = 4;

#[tokio::test]
async fn kill_loses_no_acknowledged_write_on_sqlite() {
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
    assert_eq!(
        integrity(&directory.path().join("data/service.db")).await,
        "ok\n"
    );
}

#[tokio::test]
async fn kill_loses_no_acknowledged_write_on_postgres() {
    let postgres = Postgres::start().await.unwrap();
    survives(&on_postgres(&postgres.url("postgres")), async || {}).await;
}

/// Kills the service during writes, repeatedly. Each start must find every acknowledged row.
async fn survives(launch: &Launch, look: impl AsyncFn()) {
    let mut acknowledged = Vec::new();
    for crash in 0..CRASHES {
        let service = launch.clone().start().await.unwrap().ready().await;
        let address = service.http().await;
        assert_all_there(&acknowledged, address, crash).await;

        let (sender, mut receiver) = mpsc::unbounded_channel();
        let writers = (0..WRITERS).map(|writer| write(address, crash, writer, sender.clone()));
        let writers: JoinSet<()> = writers.collect();
        drop(sender);
        // Each crash comes after a different number of responses.
        for _ in 0..=crash {
            acknowledged.push(receiver.recv().await.expect("an answer"));
        }
        service.signal(Signal::KILL);

        assert_eq!(service.exit().await.signal, Some(9));
        writers.join_all().await;
        while let Some(url) = receiver.recv().await {
            acknowledged.push(url);
        }
        look().await;
    }
    let service = launch.clone().start().await.unwrap().ready().await;
    assert_all_there(&acknowledged, service.http().await, CRASHES).await;
    assert_eq!(service.stop().await.code, Some(0));
}

async fn assert_all_there(acknowledged: &[String], address: SocketAddr, crash: usize) {
    let there = urls(address).await;
    let mut lost = acknowledged.iter().filter(|url| !there.contains(url));
    assert_eq!(lost.next(), None, "after crash {crash}");
    // Each writer may have written one more row without receiving the response.
    let more = there.len() - acknowledged.len();
    assert!(more <= crash * WRITERS, "{more} unacknowledged rows");
}

/// Adds targets until the process is gone, and sends the URLs that were acknowledged.
async fn write(
    address: SocketAddr,
    crash: usize,
    writer: usize,
    sender: mpsc::UnboundedSender<String>,
) {
    let Ok(mut connection) = Http1::connect(address).await else {
        return;
    };
    for number in 0.. {
        let url = format!("http://{crash}.{writer}.example.org/{number}");
        match connection.send(new_target(&url)).await {
            Ok(answer) => {
                assert_eq!(answer.status, 201, "{answer}");
                _ = sender.send(url);
            }
            Err(failure) => return assert_ne!(failure.kind, Kind::Late, "{failure}"),
        }
    }
}

async fn integrity(database: &Path) -> String {
    let sqlite = Service::of("sqlite3").arg(database);
    let checked = sqlite.arg("PRAGMA integrity_check").run().await.unwrap();
    format!("{}{}", checked.stdout, checked.stderr)
}
