//! A full disk: the service has its own file system, with hardly any space.

use harness::http;
use harness::service::{Launch, fill};

use crate::{new_target, on_sqlite, urls};

/// Mounts a small private file system for the data, prepares it, and becomes the service by `exec`.
fn on_a_small_disk(prepare: &str) -> Launch {
    let mount = "mkdir data && mount -t tmpfs -o size=1m none data";
    let script = format!("{mount} && {prepare} exec \"$@\"");
    on_sqlite().wrapped_by("unshare", ["-rm", "sh", "-c", &script, "sh"])
}

#[tokio::test]
async fn full_disk_refuses_writes_serves_reads_and_recovers() {
    let service = on_a_small_disk("").ready().await;
    let address = service.http().await;
    let filler = service.in_its_namespace("data").join("filler");
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        // Another process takes the free space. The service must work with what it has already
        // allocated.
        fill(&filler);
        let mut refused = 0;
        for number in 0.. {
            let url = format!("http://{round}.example.org/{number}/{}", "x".repeat(500));
            let answer = http::send(address, new_target(&url)).await.unwrap();
            match answer.status {
                201 => acknowledged.push(url),
                503 => {
                    assert_eq!(answer.json()["code"], "unavailable", "{answer}");
                    refused += 1;
                }
                _ => panic!("{answer}\n{}", service.log().tail()),
            }
            assert_eq!(urls(address).await, acknowledged);
            if refused == 5 {
                break;
            }
        }
        assert_eq!(http::get(address, "/livez").await.unwrap().status, 200);

        std::fs::remove_file(&filler).unwrap();

        let url = format!("http://{round}.example.org/after");
        let answer = http::send(address, new_target(&url)).await.unwrap();
        assert_eq!(answer.status, 201, "{answer}");
        acknowledged.push(url);
        assert_eq!(urls(address).await, acknowledged);
    }
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn start_on_a_full_disk_names_the_cause() {
    let fill = r#""$1" migrate >&2 && ! cat /dev/zero >data/filler 2>&2 &&"#;
    let exit = on_a_small_disk(fill).start().await.unwrap().exit().await;
    exit.failed(&["sqlite:data/service.db", "there must be room on the disk"]);
}

#[tokio::test]
async fn stop_keeps_a_wal_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let launch = on_sqlite().directory(directory.path());
    let first = launch.clone().ready().await;
    let second = launch.ready().await;
    let answer = http::send(first.http().await, new_target("http://a/")).await;
    assert_eq!(answer.unwrap().status, 201);

    let exit = first.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(directory.path().join("data/service.db-wal").exists());
    assert_eq!(urls(second.http().await).await, ["http://a/"]);
    second.stop().await;
    let left = std::fs::read_dir(directory.path().join("data")).unwrap();
    assert_eq!(left.count(), 1, "only the database file");
}
