//! Metrics, as Prometheus asks for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::exposition::{Exposition, documented};
use crate::running::{Running, ask, ask_with, get};

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap()
}

fn scrape(service: &Running) -> Exposition {
    let answer = get(service.operator, "/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let kind = "content-type: text/plain; version=0.0.4";
    assert!(answer.head.contains(kind), "{}", answer.head);
    Exposition::read(&answer.body)
}

#[test]
fn every_family_that_is_documented_is_there_and_no_other() {
    let service = Running::start(&[]);
    for _ in 0..3 {
        assert_eq!(get(service.http, "/nothing").status, 404);
    }
    assert_eq!(get(service.http, "/readyz").status, 200);

    let metrics = scrape(&service);

    let page = page();
    let (of_the_frame, _) = page.split_once("## Your own").unwrap();
    let promised = documented(of_the_frame);
    let missing: Vec<_> = promised
        .iter()
        .filter(|name| !metrics.families.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "documented, and not there: {missing:?}");
    let all = documented(&page);
    let silent: Vec<_> = metrics
        .families
        .keys()
        .filter(|name| !all.contains(*name))
        .collect();
    assert!(silent.is_empty(), "not in docs/metrics.md: {silent:?}");

    let unmatched = r#"{method="GET",route="unmatched",status="4xx"}"#;
    let duration = "http_server_request_duration_seconds_count";
    assert_eq!(metrics.count(&format!("{duration}{unmatched}")), 3);
    assert_eq!(metrics.count("http_server_active_requests"), 0);
    assert_eq!(metrics.count(r#"lifecycle_state{state="ready"}"#), 1);
    assert_eq!(metrics.count(r#"lifecycle_state{state="draining"}"#), 0);
    let tending = r#"task_state{task="connections",state="running"}"#;
    assert_eq!(metrics.count(tending), 1);
    assert_eq!(metrics.count("http_listener_requests_total"), 4);
    assert!(metrics.count(r#"health_check_passing{check="database"}"#) == 1);
}

#[test]
fn the_process_knows_what_it_uses() {
    let service = Running::start(&[]);

    let metrics = scrape(&service);

    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let age = now - metrics.value("process_start_time_seconds");
    assert!(age.abs() < 600.0, "it began {age} seconds ago");
    let memory = metrics.value("process_resident_memory_bytes");
    assert!((1e6..1e9).contains(&memory), "{memory} bytes");
    let files = metrics.value("process_open_fds");
    assert!((5.0..1000.0).contains(&files), "{files} files");
    assert!(metrics.value("process_max_fds") >= files);
    assert!(metrics.value("runtime_workers") >= 1.0);
}

#[test]
fn the_time_of_processors_that_it_has_used_grows_with_its_work() {
    const PATIENCE: Duration = Duration::from_mins(1);
    /// Ten of the ticks that it is counted in.
    const WORK: f64 = 0.1;
    let service = Running::start(&[]);
    let used = || scrape(&service).value("process_cpu_seconds_total");
    let (began, before) = (Instant::now(), used());

    let mut after = before;
    while after < before + WORK {
        assert!(began.elapsed() < PATIENCE, "{before}, and then {after}");
        for _ in 0..50 {
            assert_eq!(get(service.http, "/nothing").status, 404);
        }
        after = used();
    }

    let processors = thread::available_parallelism().unwrap().get() + 1;
    let there_was = began.elapsed() * u32::try_from(processors).unwrap();
    let grown = after - before;
    assert!(grown <= there_was.as_secs_f64(), "{grown} of {there_was:?}");
}

#[test]
fn a_scrape_is_answered_at_once_while_the_service_is_busy() {
    let service = Running::start(&[]);
    let (http, done) = (service.http, AtomicBool::new(false));
    let mut longest = Duration::ZERO;

    let served = thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(get(http, "/nothing").status, 404);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for _ in 0..20 {
            let asked = Instant::now();
            scrape(&service);
            longest = longest.max(asked.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum::<u64>()
    });

    assert!(longest < Duration::from_secs(2), "took {longest:?}");
    let metrics = scrape(&service);
    let unmatched = r#"{method="GET",route="unmatched",status="4xx"}"#;
    let counted = format!("http_server_request_duration_seconds_count{unmatched}");
    assert_eq!(metrics.count(&counted), served);
    assert_eq!(metrics.count("http_server_active_requests"), 0);
}

#[test]
fn nothing_that_a_client_sends_makes_a_series() {
    let service = Running::start(&[]);
    get(service.http, "/nothing");
    ask(service.http, "STRANGE", "/nothing", "");
    let before = scrape(&service).series;

    for n in 0..100 {
        get(service.http, &format!("/nothing/{n}?x={n}"));
        ask(service.http, &format!("METHOD{n}"), &format!("/{n}"), "");
    }

    let mut after = scrape(&service).series;
    after.retain(|series, _| !before.contains_key(series));
    assert!(after.is_empty(), "{:?}", after.keys().next());
}

#[test]
fn metrics_need_the_operators_token() {
    let service = Running::start_with(&[], &[("APP__OPERATOR__TOKEN", "hunter2")]);
    let with = |head: &str| ask_with(service.operator, "GET", "/metrics", head, "");

    for wrong in ["", "authorization: Bearer hunter\r\n"] {
        let refused = with(wrong);
        assert_eq!(refused.status, 401, "{wrong}");
        assert!(!refused.body.contains("# TYPE"), "{}", refused.body);
    }

    let shown = with("authorization: Bearer hunter2\r\n");
    assert_eq!(shown.status, 200);
    assert!(shown.body.contains("build_info{") && !shown.body.contains("hunter2"));
}
