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

    /// The status and the body of a probe: `200 ok`.
    async fn probe(&self, path: &str) -> String {
        let answer = send(&self.routes, request("GET", path), "").await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        format!("{} {}", answer.status, answer.body)
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
        assert_eq!(process.probe("/readyz").await, "200 ok");
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
        assert_eq!(process.probe("/readyz").await, "200 ok", "not yet");
    }
    sleep(PERIOD).await;
    let failing = "503 failing: dependency";
    assert_eq!(process.probe("/readyz").await, failing);

    check.fails.store(false, Relaxed);
    sleep(PERIOD).await;
    assert_eq!(process.probe("/readyz").await, "200 ok");
}

fn panics() -> Result<(), String> {
    panic!("hunter2")
}

#[tokio::test(start_paused = true)]
async fn check_that_hangs_or_panics_fails_alone() {
    let process = Process::ready();
    let (health, required) = (&process.health, Importance::Required);
    let hangs = pending::<Result<(), String>>;
    health.register_check("hangs", required, hangs).unwrap();
    let later = || async { panics() };
    health.register_check("panics", required, later).unwrap();
    let second = health.register_check("panics", required, later);
    assert!(matches!(second, Err(SpawnError::NameTaken(_))));
    let at_once = || ready(panics());
    health.register_check("at once", required, at_once).unwrap();
    process.switch("works", required);
    periods(3).await;

    let failing = "503 failing: hangs, panics, at once";
    assert_eq!(process.probe("/readyz").await, failing);
}

#[tokio::test(start_paused = true)]
async fn check_without_a_recent_result_fails() {
    let process = Process::ready();
    process.switch("dependency", Importance::Required);
    periods(1).await;
    assert_eq!(process.probe("/readyz").await, "200 ok");

    let paused = process.supervisor.order("health.dependency", Order::Pause);
    paused.unwrap();
    sleep((PERIOD + TIMEOUT) * 3).await;

    assert_eq!(process.probe("/readyz").await, "503 failing: dependency");
}

#[tokio::test(start_paused = true)]
async fn verbose_lists_state_age_and_latency() {
    let process = Process::ready();
    let required = process.switch("needed", Importance::Required);
    let optional = process.switch("optional", Importance::Degraded);
    let answer = process.probe("/readyz?verbose").await;
    let line = "[+] needed: passes, not checked yet\n";
    assert!(answer.contains(line), "{answer}");

    optional.fails.store(true, Relaxed);
    periods(3).await;
    assert_eq!(process.probe("/readyz").await, "200 ok");

    required.fails.store(true, Relaxed);
    periods(3).await;
    // Names, and no reasons.
    assert_eq!(
        process.probe("/readyz?verbose").await,
        "503 [+] lifecycle: ready\n\
         [-] needed: fails, checked 2.0 s ago, took 0 ms\n\
         [!] optional: fails, checked 2.0 s ago, took 0 ms\n\
         failing: needed\n"
    );
    let answer = process.probe("/readyz?other=needed").await;
    assert_eq!(answer, "503 failing: needed");
    assert_eq!(process.probe("/livez").await, "200 ok");
}

#[tokio::test(start_paused = true)]
async fn startupz_is_sticky_and_a_stop_is_unready_and_alive() {
    let process = Process::starting();
    let expect = async |when: &str, expected: [u16; 3]| {
        for (path, status) in ["/startupz", "/readyz", "/livez"].iter().zip(expected) {
            let answer = process.probe(path).await;
            assert_eq!(answer[..3], status.to_string(), "{path} {when}");
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
    let answer = failed.probe("/startupz").await;
    assert!(answer.starts_with("503 "), "a failed start: {answer}");
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

    assert_eq!(
        process.probe("/readyz?verbose").await,
        "503 [+] lifecycle: ready\n\
         [-] task.recorder: backing_off\n\
         [!] task.extra: gave_up\n\
         failing: task.recorder\n"
    );
}
