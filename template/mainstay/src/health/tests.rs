use std::future::{pending, ready};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32};

use axum::Router;
use tokio::time::sleep;

use super::*;
use crate::lifecycle::{Phase, State};
use crate::supervisor::{Builder, Order};
use crate::tests::{request, send, settings};

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
        let settings = settings(&["health.period=5s", "health.timeout=1s"]).health;
        let (lifecycle, supervisor) = (Lifecycle::starting(), Supervisor::new());
        let health = Health::new(&settings, &lifecycle, &supervisor);
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
        let answer = send(&self.routes, request("GET", path), "").await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        (answer.status, answer.body)
    }

    async fn status(&self, path: &str) -> u16 {
        self.probe(path).await.0
    }

    /// A check that fails while the flag is set, and counts its runs.
    fn switch(&self, name: &str, importance: Importance) -> Arc<Switch> {
        let switch = Arc::new(Switch::default());
        let inner = Arc::clone(&switch);
        let probe = move || {
            inner.runs.fetch_add(1, Relaxed);
            let fails = inner.fails.load(Relaxed);
            ready(if fails { Err("hunter2") } else { Ok(()) })
        };
        self.health.register_check(name, importance, probe).unwrap();
        switch
    }
}

#[derive(Default)]
struct Switch {
    fails: AtomicBool,
    runs: AtomicU32,
}

/// Waits until a check has run so many times more.
async fn periods(count: u32) {
    sleep(PERIOD * count + TIMEOUT).await;
}

#[tokio::test(start_paused = true)]
async fn probes_run_a_check_once_per_period() {
    let process = Process::ready();
    let check = process.switch("dependency", Importance::Required);
    sleep(PERIOD / 2).await;
    assert_eq!(check.runs.load(Relaxed), 1);

    for _ in 0..1000 {
        assert_eq!(process.probe("/readyz").await, (200, "ok".to_owned()));
    }
    assert_eq!(check.runs.load(Relaxed), 1);

    sleep(PERIOD).await;
    assert_eq!(check.runs.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn check_fails_after_three_failures_and_recovers_after_one() {
    let process = Process::ready();
    let check = process.switch("dependency", Importance::Required);
    periods(0).await;

    check.fails.store(true, Relaxed);
    periods(0).await;
    for _ in 0..2 {
        sleep(PERIOD).await;
        assert_eq!(process.status("/readyz").await, 200, "not yet");
    }
    sleep(PERIOD).await;
    let failing = (503, "failing: dependency".to_owned());
    assert_eq!(process.probe("/readyz").await, failing);

    check.fails.store(false, Relaxed);
    sleep(PERIOD).await;
    assert_eq!(process.status("/readyz").await, 200);
}

fn panics() -> Result<(), String> {
    panic!("hunter2")
}

#[tokio::test(start_paused = true)]
async fn check_that_hangs_or_panics_fails_alone() {
    let process = Process::ready();
    let health = &process.health;
    let required = Importance::Required;
    let hangs = pending::<Result<(), String>>;
    health.register_check("hangs", required, hangs).unwrap();
    let in_its_run = || async { panics() };
    health
        .register_check("panics", required, in_its_run)
        .unwrap();
    let second = health.register_check("panics", required, in_its_run);
    assert!(matches!(second, Err(SpawnError::NameTaken(_))));
    let at_once = || ready(panics());
    health
        .register_check("panics at once", required, at_once)
        .unwrap();
    process.switch("works", required);
    periods(3).await;

    let (status, body) = process.probe("/readyz").await;

    assert_eq!(status, 503);
    assert_eq!(body, "failing: hangs, panics, panics at once");
}

#[tokio::test(start_paused = true)]
async fn check_without_a_recent_result_fails() {
    let process = Process::ready();
    process.switch("dependency", Importance::Required);
    periods(1).await;
    assert_eq!(process.status("/readyz").await, 200);

    let paused = process.supervisor.order("health.dependency", Order::Pause);
    paused.unwrap();
    sleep((PERIOD + TIMEOUT) * 3).await;

    assert_eq!(process.status("/readyz").await, 503);
}

#[tokio::test(start_paused = true)]
async fn verbose_lists_state_age_and_latency() {
    let process = Process::ready();
    let required = process.switch("needed", Importance::Required);
    let optional = process.switch("optional", Importance::Degraded);
    let (_, body) = process.probe("/readyz?verbose").await;
    let line = "[+] needed: passes, not checked yet\n";
    assert!(body.contains(line), "{body}");

    optional.fails.store(true, Relaxed);
    periods(3).await;
    assert_eq!(process.probe("/readyz").await, (200, "ok".to_owned()));

    required.fails.store(true, Relaxed);
    periods(3).await;
    // Names, and no reasons.
    let (status, body) = process.probe("/readyz?verbose").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        "[+] lifecycle: ready\n\
         [-] needed: fails, checked 2.0 s ago, took 0 ms\n\
         [!] optional: fails, checked 2.0 s ago, took 0 ms\n\
         failing: needed\n"
    );
    let failing = (503, "failing: needed".to_owned());
    assert_eq!(process.probe("/readyz?other=needed").await, failing);
    assert_eq!(process.probe("/livez").await, (200, "ok".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn startupz_is_sticky_and_a_stop_is_unready_and_alive() {
    let process = Process::starting();
    let expect = async |when: &str, expected: [u16; 3]| {
        for (path, status) in ["/startupz", "/readyz", "/livez"].iter().zip(expected) {
            assert_eq!(process.status(path).await, status, "{path} {when}");
        }
    };
    expect("while starting", [503, 503, 200]).await;
    process.lifecycle.ready();
    expect("when ready", [200, 200, 200]).await;
    process.lifecycle.begin_phase(Phase::Delay, TIMEOUT);
    expect("while stopping", [200, 503, 200]).await;
    process.lifecycle.state.send_replace(State::Stopped);
    expect("when stopped", [200, 503, 200]).await;

    let failed = Process::starting();
    failed.lifecycle.begin_phase(Phase::Delay, TIMEOUT);
    assert_eq!(failed.status("/startupz").await, 503, "a failed start");
}

#[tokio::test(start_paused = true)]
async fn stopped_critical_task_is_unready_and_any_other_degrades() {
    let process = Process::ready();
    let tasks = &process.supervisor;
    let run = async |_| Err::<(), _>("no");
    let hour = Duration::from_hours(1);
    let slow = |task: Builder| task.backoff(hour, hour).max_restarts(1, hour);
    slow(tasks.task("recorder").critical()).run(run).unwrap();
    let task = tasks.task("extra").max_restarts(0, PERIOD);
    task.run(run).unwrap();
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
