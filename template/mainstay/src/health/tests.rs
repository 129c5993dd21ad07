use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use tokio::time::sleep;
use tower::ServiceExt;

use super::*;

const PERIOD: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(1);

/// The probes of a process, and what they look at.
struct Process {
    lifecycle: Lifecycle,
    supervisor: Supervisor,
    health: Health,
    routes: Router,
}

impl Process {
    fn starting() -> Self {
        let settings = Settings {
            period: PERIOD,
            timeout: TIMEOUT,
            stall: Duration::from_secs(30),
        };
        let lifecycle = Lifecycle::starting();
        let supervisor = Supervisor::new();
        let health = Health::watched(&settings, &lifecycle, &supervisor, &Pulse::default());
        Self {
            routes: health.routes(),
            lifecycle,
            supervisor,
            health,
        }
    }

    fn ready() -> Self {
        let process = Self::starting();
        process.lifecycle.ready();
        process
    }

    async fn probe(&self, path: &str) -> (u16, String) {
        let request = Request::get(path)
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        let answer = self.routes.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let body = to_bytes(answer.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn status(&self, path: &str) -> u16 {
        self.probe(path).await.0
    }

    /// A check that fails while the flag is set, and counts its runs.
    fn switch(&self, name: &str, importance: Importance) -> (Arc<AtomicBool>, Arc<AtomicU32>) {
        let (fails, runs) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU32::new(0)),
        );
        let (failing, running) = (Arc::clone(&fails), Arc::clone(&runs));
        let probe = move || {
            running.fetch_add(1, Ordering::Relaxed);
            let fails = failing.load(Ordering::Relaxed);
            async move {
                if fails {
                    Err("hunter2 at 10.0.0.7")
                } else {
                    Ok(())
                }
            }
        };
        self.health.register_check(name, importance, probe).unwrap();
        (fails, runs)
    }
}

/// Waits until a check has run so many times more.
async fn periods(count: u32) {
    sleep(PERIOD * count + TIMEOUT).await;
}

#[tokio::test(start_paused = true)]
async fn probes_run_a_check_once_per_period() {
    let process = Process::ready();
    let (_, runs) = process.switch("dependency", Importance::Required);
    sleep(PERIOD / 2).await;
    assert_eq!(runs.load(Ordering::Relaxed), 1);

    for _ in 0..1000 {
        assert_eq!(process.probe("/readyz").await, (200, "ok".to_owned()));
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);

    sleep(PERIOD).await;
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn check_fails_after_three_failures_and_recovers_after_one() {
    let process = Process::ready();
    let (fails, _) = process.switch("dependency", Importance::Required);
    periods(0).await;

    fails.store(true, Ordering::Relaxed);
    periods(0).await;
    for _ in 0..2 {
        sleep(PERIOD).await;
        assert_eq!(process.status("/readyz").await, 200, "not yet");
    }
    sleep(PERIOD).await;
    let failing = (503, "failing: dependency".to_owned());
    assert_eq!(process.probe("/readyz").await, failing);

    fails.store(false, Ordering::Relaxed);
    sleep(PERIOD).await;
    assert_eq!(process.status("/readyz").await, 200);
}

#[tokio::test(start_paused = true)]
async fn optional_dependency_degrades_and_livez_ignores_checks() {
    let process = Process::ready();
    let (fails, _) = process.switch("optional", Importance::Degraded);
    let (required, _) = process.switch("needed", Importance::Required);
    fails.store(true, Ordering::Relaxed);
    periods(3).await;

    assert_eq!(process.status("/readyz").await, 200);
    let (_, verbose) = process.probe("/readyz?verbose").await;
    assert!(
        verbose.contains("[!] optional: fails, checked"),
        "{verbose}"
    );

    required.store(true, Ordering::Relaxed);
    periods(3).await;
    assert_eq!(process.status("/readyz").await, 503);
    assert_eq!(process.probe("/livez").await, (200, "ok".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn check_that_hangs_or_panics_fails_alone() {
    let process = Process::ready();
    let health = &process.health;
    health
        .register_check(
            "hangs",
            Importance::Required,
            std::future::pending::<Result<(), String>>,
        )
        .unwrap();
    health
        .register_check("panics", Importance::Required, || async {
            assert!(fastrand::f64() > 1.0, "hunter2");
            Ok::<(), String>(())
        })
        .unwrap();
    health
        .register_check("panics at once", Importance::Required, || {
            assert!(fastrand::f64() > 1.0, "hunter2");
            async { Ok::<(), String>(()) }
        })
        .unwrap();
    process.switch("works", Importance::Required);
    periods(3).await;

    let (status, body) = process.probe("/readyz").await;

    assert_eq!(status, 503);
    assert_eq!(body, "failing: hangs, panics, panics at once");
}

#[tokio::test(start_paused = true)]
async fn verbose_lists_state_age_and_latency() {
    let process = Process::ready();
    let (fails, _) = process.switch("dependency", Importance::Required);
    process.switch("other", Importance::Required);
    let (_, body) = process.probe("/readyz?verbose").await;
    assert!(
        body.contains("[+] other: passes, not checked yet\n"),
        "{body}"
    );
    fails.store(true, Ordering::Relaxed);
    periods(3).await;

    let (status, body) = process.probe("/readyz?verbose").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "[+] lifecycle: ready\n\
         [-] dependency: fails, checked 1.0 s ago, took 0 ms\n\
         [+] other: passes, checked 1.0 s ago, took 0 ms\n\
         failing: dependency\n"
    );
    let all = process.probe("/readyz").await;
    assert_eq!(process.probe("/readyz?other=dependency").await, all);
}

#[tokio::test(start_paused = true)]
async fn failure_shows_names_and_never_reasons() {
    let process = Process::ready();
    let (fails, _) = process.switch("dependency", Importance::Required);
    fails.store(true, Ordering::Relaxed);
    periods(3).await;

    for query in ["", "?verbose"] {
        let (status, body) = process.probe(&format!("/readyz{query}")).await;
        assert_eq!(status, 503);
        assert!(
            !body.contains("hunter2") && !body.contains("10.0.0.7"),
            "{body}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn startupz_is_sticky_and_a_stop_is_unready_and_alive() {
    let process = Process::starting();
    for (path, status) in [("/startupz", 503), ("/readyz", 503), ("/livez", 200)] {
        assert_eq!(process.status(path).await, status, "{path} while starting");
    }
    process.lifecycle.ready();
    for path in ["/startupz", "/readyz", "/livez"] {
        assert_eq!(process.status(path).await, 200, "{path} when ready");
    }
    process.lifecycle.begin_stop();
    for (path, status) in [("/startupz", 200), ("/readyz", 503), ("/livez", 200)] {
        assert_eq!(process.status(path).await, status, "{path} while stopping");
    }
    process.lifecycle.stopped();
    process.lifecycle.ready();
    assert_eq!(
        process.status("/readyz").await,
        503,
        "a stopped process is never ready again"
    );
}

#[tokio::test(start_paused = true)]
async fn stopped_critical_task_is_unready_and_any_other_degrades() {
    let process = Process::ready();
    let tasks = &process.supervisor;
    let fail = async |()| Err::<(), _>("no");
    let policy = |task: supervisor::Builder| {
        let hour = Duration::from_hours(1);
        task.backoff(hour, hour).max_restarts(1, hour)
    };
    let run = move |_| async move { fail(()).await };
    policy(tasks.task("recorder").critical()).run(run).unwrap();
    tasks
        .task("extra")
        .max_restarts(0, PERIOD)
        .run(run)
        .unwrap();
    sleep(TIMEOUT).await;

    let (status, body) = process.probe("/readyz?verbose").await;

    assert_eq!(status, 503);
    assert_eq!(
        body,
        "[+] lifecycle: ready\n\
         [-] task.recorder: backing_off\n\
         [!] task.extra: gave_up\n\
         failing: task.recorder\n"
    );
}

#[tokio::test(start_paused = true)]
async fn second_check_with_the_same_name_is_refused() {
    let process = Process::ready();
    process.switch("dependency", Importance::Required);
    let probe = || async { Ok::<(), String>(()) };
    let refused = process
        .health
        .register_check("dependency", Importance::Degraded, probe);
    assert!(
        matches!(refused, Err(SpawnError::NameTaken(_))),
        "{refused:?}"
    );
}
