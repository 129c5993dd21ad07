//! The probes with checks that fail, hang, panic and flicker, and the details that they redact.

use std::time::{Duration, Instant};

use harness::eventually;
use harness::http::{self, Answer};
use harness::service::{Launch, Service};

use crate::{faulty, get, in_handler, running};

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
        assert_eq!(service.ask("/livez").await.status, 200, "{check}");
        assert_eq!(service.ask("/startupz").await.status, 200, "{check}");
        assert_eq!(get(&service, "/livez").await.status, 200, "{check}");
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

#[tokio::test]
async fn failing_probe_shows_names_and_logs_reasons() {
    for check in ["fails", "panics"] {
        let service = running(checked(check, "required")).await;
        unready(&service).await;

        for path in ["/readyz", "/readyz?verbose", "/livez?verbose"] {
            for answer in [service.ask(path).await, get(&service, path).await] {
                assert!(!answer.text().contains("secret-7d1f"), "{path}: {answer}");
                assert!(!answer.text().contains("10.9.8.7"), "{path}: {answer}");
                assert_eq!(answer.header("cache-control"), Some("no-store"));
            }
        }
        service
            .wait_for("the reason", |event| {
                event.to_string().contains("secret-7d1f")
            })
            .await;
    }
}

#[tokio::test]
async fn verbose_lists_every_check() {
    let service = running(checked("fails", "required")).await;
    unready(&service).await;

    let verbose = service.ask("/readyz?verbose").await;
    for line in ["[+] database: passes", "[-] faulty: fails"] {
        assert!(verbose.text().contains(line), "{line}: {verbose}");
    }
    assert_eq!(verbose.status, 503, "{verbose}");
}

#[tokio::test]
async fn alternating_check_does_not_flap() {
    let service = running(checked("flaky", "required")).await;
    loop {
        let answer = service.ask("/readyz").await;
        assert_eq!(answer.status, 200, "{answer}");
        let asked: u64 = get(&service, "/checks").await.text().parse().unwrap();
        if asked > 20 {
            break;
        }
    }
}

#[tokio::test]
async fn probes_do_not_multiply_checks() {
    let launch = checked("sound", "required").set("health.period", "60s");
    let service = running(launch).await;
    let asked = async || get(&service, "/checks").await.text().to_owned();
    eventually("the first check", async || {
        (asked().await == "1").then_some(())
    })
    .await;
    let (public, operator) = (service.http().await, service.operator().await);
    for address in [public, operator] {
        let mut client = http::Http1::connect(address).await.unwrap();
        for _ in 0..500 {
            assert_eq!(client.get("/readyz").await.unwrap().status, 200);
        }
    }
    assert_eq!(asked().await, "1");
}

#[tokio::test]
async fn readyz_answers_from_memory_while_a_check_hangs() {
    let service = running(checked("hangs", "required")).await;
    unready(&service).await;
    let mut times = Vec::new();
    for _ in 0..41 {
        let began = Instant::now();
        assert_eq!(service.ask("/readyz").await.status, 503);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    assert!(times[20] < Duration::from_millis(50), "{times:?}");
}

#[tokio::test]
async fn startupz_stays_200_after_the_start() {
    let launch = checked("fails", "required").set("shutdown.delay", "3s");
    let service = running(launch.set("shutdown.drain", "10s")).await;
    unready(&service).await;
    assert_eq!(service.ask("/startupz").await.status, 200);

    let request = in_handler(&service, "/slow?ms=3500").await;
    service.signal(harness::service::Signal::TERM);
    service.event("draining").await;

    assert_eq!(service.ask("/startupz").await.status, 200);
    assert_eq!(get(&service, "/startupz").await.status, 200);
    request.await.unwrap().unwrap();
}
