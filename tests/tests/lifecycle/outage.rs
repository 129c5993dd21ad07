//! A database server that stops under a running service.

use std::time::{Duration, Instant};

use harness::eventually;
use harness::fleet;
use harness::http::{self, get};
use harness::postgres::{Postgres, Stop};
use harness::service::{Launch, Service};

fn service(postgres: &Postgres, importance: &str) -> Launch {
    Service::of(fleet::FAULTS_ON_POSTGRES.binary())
        .env("APP__DATABASE__URL", postgres.url("postgres"))
        .set("health.database", importance)
        .set("health.period", "100ms")
        .set("health.timeout", "200ms")
}

#[tokio::test]
async fn livez_stays_200_while_the_database_is_down() {
    for (importance, status) in [("degraded", 200), ("required", 503)] {
        let mut postgres = Postgres::options().durable().start().await.unwrap();
        let launch = service(&postgres, importance);
        let service = launch.start().await.unwrap().ready().await;
        let (public, operator) = (service.http().await, service.operator().await);
        assert_eq!(get(public, "/guests").await.unwrap().status, 200);

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
                assert_eq!(get(address, "/livez").await.unwrap().status, 200);
                let began = Instant::now();
                let answer = get(address, "/readyz").await.unwrap();
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
            let guests = get(public, "/guests").await.unwrap();
            let ready = get(public, "/readyz").await.unwrap();
            (guests.status == 200 && ready.status == 200).then_some(())
        })
        .await;
        assert_eq!(service.stop().await.code, Some(0));
    }
}
