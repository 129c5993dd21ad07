//! The probes with checks that fail, hang, panic or block, and with a database that is down.

use std::time::{Duration, Instant};

use harness::eventually;
use harness::fleet;
use harness::http::{self, Answer};
use harness::log::Event;
use harness::postgres::{Postgres, Stop};
use harness::service::{Launch, Service};

use crate::{faulty, get, running};

/// A service with a faulty check, which runs often so that tests are short.
fn checked(check: &str, importance: &str) -> Launch {
    faulty()
        .set("faults.check", check)
        .set("faults.importance", importance)
        .set("health.period", "100ms")
        .set("health.timeout", "200ms")
}

async fn unready(service: &Service) -> Answer {
    eventually("/readyz to fail", async || {
        let answer = service.ask("/readyz").await;
        (answer.status == 503).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn failing_required_check_makes_the_service_unready() {
    for check in ["fails", "hangs", "panics", "blocks"] {
        let service = running(checked(check, "required")).await;

        let answer = unready(&service).await;

        assert!(answer.text().contains("faulty"), "{check}: {answer}");
        assert_eq!(service.ask("/startupz").await.status, 200, "{check}");
        for (path, status) in [
            ("/livez", 200),
            ("/readyz", 503),
            ("/readyz?verbose", 503),
            ("/livez?verbose", 200),
        ] {
            for answer in [service.ask(path).await, get(&service, path).await] {
                assert_eq!(answer.status, status, "{check}, {path}: {answer}");
                assert_eq!(answer.header("cache-control"), Some("no-store"));
                for reason in ["secret-7d1f", "10.9.8.7"] {
                    assert!(!answer.text().contains(reason), "{path}: {answer}");
                }
            }
        }
        if check == "fails" {
            let verbose = service.ask("/readyz?verbose").await;
            for line in ["[+] database: passes", "[-] faulty: fails"] {
                assert!(verbose.text().contains(line), "{line}: {verbose}");
            }
        }
        if ["fails", "panics"].contains(&check) {
            let is_reason = |event: &Event| event.to_string().contains("secret-7d1f");
            service.wait_for("the reason", is_reason).await;
        }
        if check == "hangs" {
            // The answer comes from memory.
            let mut times = Vec::new();
            for _ in 0..41 {
                let began = Instant::now();
                assert_eq!(service.ask("/readyz").await.status, 503);
                times.push(began.elapsed());
            }
            times.sort_unstable();
            assert!(times[20] < Duration::from_millis(50), "{times:?}");
        }
        let exit = service.stop().await;
        assert!(exit.took < Duration::from_secs(10), "{check}: {exit}");
    }
}

#[tokio::test]
async fn failing_optional_check_keeps_the_service_ready() {
    for check in ["fails", "hangs", "panics"] {
        let service = running(checked(check, "degraded")).await;

        let verbose = eventually("a check that has failed", async || {
            let answer = service.ask("/readyz?verbose").await;
            let line = answer.text().lines().find(|line| line.contains("faulty"))?;
            (line.contains("fail") || line.contains("degraded")).then(|| answer.clone())
        })
        .await;

        assert_eq!(verbose.status, 200, "{check}: {verbose}");
        assert_eq!(service.ask("/readyz").await.status, 200, "{check}");
        assert_eq!(get(&service, "/readyz").await.status, 200, "{check}");
    }
}

fn on_postgres(postgres: &Postgres, importance: &str) -> Launch {
    Service::of(fleet::FAULTS_ON_POSTGRES.binary())
        .env("APP__DATABASE__URL", postgres.url("postgres"))
        .set("health.database", importance)
        .set("health.period", "100ms")
        .set("health.timeout", "200ms")
}

#[tokio::test]
async fn livez_stays_200_while_the_database_is_down() {
    for (importance, status) in [("degraded", 200), ("required", 503)] {
        let mut postgres = Postgres::start().await.unwrap();
        let launch = on_postgres(&postgres, importance);
        let service = launch.ready().await;
        let (public, operator) = (service.http().await, service.operator().await);
        assert_eq!(http::get(public, "/guests").await.unwrap().status, 200);

        postgres.stop(Stop::Immediate).await.unwrap();

        eventually("the failure to be visible", async || {
            let verbose = service.ask("/readyz?verbose").await;
            let line = verbose
                .text()
                .lines()
                .find(|line| line.contains("database"))?;
            (line.contains("fail") || line.contains("degraded")).then_some(())
        })
        .await;
        let mut times = Vec::new();
        for address in [public, operator] {
            for _ in 0..20 {
                assert_eq!(http::get(address, "/livez").await.unwrap().status, 200);
                let began = Instant::now();
                let answer = http::get(address, "/readyz").await.unwrap();
                times.push(began.elapsed());
                assert_eq!(answer.status, status, "{importance}: {answer}");
            }
        }
        times.sort_unstable();
        assert!(times[20] < Duration::from_millis(50), "{times:?}");
        let guests = http::get(public, "/guests").await.unwrap();
        assert_eq!(guests.status, 503, "{guests}");

        postgres.restart().await.unwrap();

        eventually("the recovery", async || {
            let guests = http::get(public, "/guests").await.unwrap();
            let ready = http::get(public, "/readyz").await.unwrap();
            (guests.status == 200 && ready.status == 200).then_some(())
        })
        .await;
        assert_eq!(service.stop().await.code, Some(0));
    }
}
