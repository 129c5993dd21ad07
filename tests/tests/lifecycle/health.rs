//! The probes with checks that fail, hang, panic or block, and with a database that is down.

use std::time::{Duration, Instant};

use harness::eventually;
use harness::fleet;
use harness::http;
use harness::log::Event;
use harness::postgres::{Postgres, Stop};
use harness::service::Service;

use crate::{faulty, get};

#[tokio::test]
async fn failing_required_check_makes_the_service_unready() {
    for check in ["fails", "hangs", "panics", "blocks"] {
        let launch = faulty()
            .set("faults.check", check)
            .set("faults.importance", "required")
            .set("health.period", "100ms")
            .set("health.timeout", "200ms");
        let service = launch.ready().await;

        let answer = eventually("/readyz to fail", async || {
            let answer = service.ask("/readyz").await;
            (answer.status == 503).then_some(answer)
        })
        .await;

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
        if ["fails", "panics"].contains(&check) {
            let is_reason = |event: &Event| event.to_string().contains("secret-7d1f");
            service.wait_for("the reason", is_reason).await;
        }
        let exit = service.stop().await;
        assert!(exit.took < Duration::from_secs(10), "{check}: {exit}");
    }
}

#[tokio::test]
async fn livez_stays_200_while_the_database_is_down() {
    for (importance, status) in [("degraded", 200), ("required", 503)] {
        let mut postgres = Postgres::start().await.unwrap();
        let launch = Service::of(fleet::FAULTS_ON_POSTGRES.binary())
            .env("APP__DATABASE__URL", postgres.url("postgres"))
            .set("health.database", importance)
            .set("health.period", "100ms")
            .set("health.timeout", "200ms");
        let service = launch.ready().await;
        let (public, operator) = (service.http().await, service.operator().await);
        assert_eq!(http::get(public, "/guests").await.unwrap().status, 200);

        postgres.stop(Stop::Immediate).await.unwrap();

        eventually("the failure to be visible", async || {
            let verbose = service.ask("/readyz?verbose").await;
            verbose.text().contains("database: fails").then_some(())
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
