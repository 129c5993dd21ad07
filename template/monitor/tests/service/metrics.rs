//! The metrics of the service, as Prometheus reads them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mainstay::testing::{documented, get};

use crate::service;

#[test]
fn metrics_md_lists_the_metrics_of_the_service() {
    let service = service().start();
    let page = documented(include_str!("../../docs/metrics.md"));

    // A metric without series is missing.
    let counted = service.metrics().own_families();
    let undocumented: Vec<_> = counted.difference(&page).collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
}

#[test]
fn scrapes_are_quick_and_exact_while_the_service_is_busy() {
    let service = service().start();
    let (http, done) = (service.http(), AtomicBool::new(false));
    let mut longest = Duration::ZERO;

    let served = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(get(http, "/v1/targets").status, 200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for _ in 0..20 {
            let asked = Instant::now();
            service.metrics();
            longest = longest.max(asked.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        let served = clients.into_iter().map(|client| client.join().unwrap());
        served.sum::<u64>()
    });

    assert!(longest < Duration::from_secs(2), "took {longest:?}");
    let metrics = service.metrics();
    let listed = r#"{method="GET",route="/v1/targets",status="2xx"}"#;
    let counted = format!("http_server_request_duration_seconds_count{listed}");
    assert_eq!(metrics.count(&counted), served);
    assert_eq!(metrics.count("http_server_active_requests"), 0);
}
