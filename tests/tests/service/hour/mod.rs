//! An hour of the monitor in less time: five thousand targets, each checked sixty times, on hosts
//! that answer, fail, flap, hang, reset connections, redirect to forbidden addresses, or do not
//! exist.
//!
//! The service is the real one, with its guard against addresses that are not public: it runs in
//! its own network, in which every address is on this machine (see [`alone`]). Only its periods are
//! shorter.

mod alone;
mod ledger;
mod vitals;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::service::Service;
use tokio::time::{Instant, sleep};

use alone::alone;
use ledger::{Kept, Ledger};
use vitals::Vitals;
use world::{HOSTS, Manner, TARGETS, World, url};

/// The duration of the test.
#[derive(Clone, Copy)]
struct Hour {
    period: Duration,
    periods: u32,
    /// How much memory may grow after each target was checked twice, in bytes: a tolerance for the
    /// allocator.
    growth: u64,
}

/// The pause of a circuit breaker.
const PAUSE: Duration = Duration::from_secs(2);

/// How long the service keeps an idle connection.
const IDLE: Duration = Duration::from_secs(20);

/// The files that the database may have open: two for each connection, and the shared ones.
const DATABASE: usize = 2 * (10 + 1) + 2;

#[test]
fn five_thousand_targets_are_checked_on_time() {
    let minute = Hour {
        period: Duration::from_secs(12),
        periods: 3,
        growth: 4 << 20,
    };
    let name = "hour::five_thousand_targets_are_checked_on_time";
    alone(name, |service| pass(minute, service));
}

#[test]
#[ignore = "takes ten minutes"]
fn an_hour_of_five_thousand_targets() {
    let hour = Hour {
        period: Duration::from_secs(10),
        periods: 60,
        growth: 8 << 20,
    };
    let name = "hour::an_hour_of_five_thousand_targets";
    alone(name, |service| pass(hour, service));
}

async fn pass(hour: Hour, binary: PathBuf) {
    let world = World::open().await;
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("data/service.db");
    let launch = Service::of(binary)
        .directory(directory.path())
        .set("monitor.breaker_pause", format!("{}s", PAUSE.as_secs()))
        // The queue must hold all targets: they are added together, and all are due at once.
        .set("monitor.max_queued", TARGETS)
        .set("monitor.checks_at_once", 256);
    let migrated = launch.clone().arg("migrate").run().await.unwrap();
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    let service = launch.ready().await;
    let before = Vitals::of(&service).await;
    println!("before: {before}");

    let began = Instant::now();
    add(&database, hour).await;
    let warm = run_periods(&service, &world, hour).await;
    let end = wait_for_breakers(&service, &world, hour).await;
    sql(&database, "UPDATE targets SET enabled = false").await;
    let took = began.elapsed();
    let after = wait_until_idle(&service, &before).await;

    // Memory does not grow under load, and afterwards the service releases its resources.
    let growth = end.memory.saturating_sub(warm.memory);
    assert!(growth <= hour.growth, "{} MiB more memory", growth >> 20);
    assert!(after.memory <= end.memory + (1 << 20), "{after}");
    assert!(after.files <= before.files + DATABASE, "{after}");
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    let errors = exit.events.iter().filter(|event| event.level == "ERROR");
    assert_eq!(errors.count(), 0, "{exit}");

    let ledger = Ledger::read(&database).await;
    let stored: usize = ledger.0.iter().map(Vec::len).sum();
    assert_eq!(stored, after.results, "every counted result is stored");
    assert_schedule(&ledger, hour);
    assert_outcomes(&ledger, &world, took);
}

/// Inserts all targets into the database.
async fn add(database: &Path, hour: Hour) {
    let rows = (0..TARGETS).map(|target| {
        let period = hour.period.as_secs();
        let timeout = match Manner::of_target(target) {
            Manner::Hangs => 1,
            _ => period,
        };
        format!("('{}', {period}, {timeout}, true, 0, 0, 1)", url(target))
    });
    let rows = rows.collect::<Vec<_>>().join(",");
    let columns =
        "url, interval_seconds, timeout_seconds, enabled, created_at, updated_at, version";
    let add = format!("INSERT INTO targets ({columns}) VALUES {rows}");
    sql(database, &add).await;
}

/// Runs statements, also on a database that another process is writing to.
async fn sql(database: &Path, statements: &str) -> String {
    let script = tempfile::NamedTempFile::new().unwrap();
    fs::write(&script, statements).unwrap();
    let sqlite = Service::of("sqlite3").arg(database).arg(".timeout 10000");
    let sqlite = sqlite.arg(format!(".read {}", script.path().display()));
    let output = sqlite.run().await.unwrap();
    assert_eq!((output.code, &*output.stderr), (Some(0), ""));
    output.stdout
}

/// Lets the service work for the configured time. In every other period, the flapping hosts are
/// down. Returns the vitals when each target was checked twice.
async fn run_periods(service: &Service, world: &World, hour: Hour) -> Vitals {
    let mut seen = Vec::new();
    for period in 1..=hour.periods {
        world.flap(period % 2 == 0);
        // The test measures over this fixed time.
        sleep(hour.period).await;
        let vitals = Vitals::of(service).await;
        println!("period {period:>3}: {vitals}");
        seen.push(vitals);
    }
    seen.swap_remove(1)
}

/// Waits until the circuit breakers are closed for exactly the hosts that answer, including the
/// flapping ones.
async fn wait_for_breakers(service: &Service, world: &World, hour: Hour) -> Vitals {
    world.flap(false);
    let silent = [Manner::Hangs, Manner::Resets, Manner::IsGone];
    let left_alone: usize = silent.map(Manner::hosts).iter().sum();
    let hosts = [HOSTS - left_alone, left_alone];
    let what = "circuit breakers that match their hosts";
    let limit = hour.period * 3;
    until(service, limit, what, |vitals| vitals.hosts == hosts).await
}

/// Waits until the work has ended and its resources are released.
async fn wait_until_idle(service: &Service, before: &Vitals) -> Vitals {
    let what = "the resources of before";
    until(service, IDLE * 3, what, |vitals| {
        (vitals.queued, vitals.unwritten) == (0, 0)
            && vitals.tasks <= before.tasks
            && vitals.sockets <= before.sockets
    })
    .await
}

async fn until(
    service: &Service,
    limit: Duration,
    what: &str,
    holds: impl Fn(&Vitals) -> bool,
) -> Vitals {
    let began = Instant::now();
    loop {
        let vitals = Vitals::of(service).await;
        if holds(&vitals) {
            println!("{what}: {vitals}, after {:?}", began.elapsed());
            return vitals;
        }
        assert!(began.elapsed() < limit, "no {what}: {vitals}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Each target is due once in each period, never twice, until the end. A period is skipped if a
/// check is delayed into the next one, as on an overloaded machine.
fn assert_schedule(ledger: &Ledger, hour: Hour) {
    let [half, most, all] = ledger.lags();
    println!("checked after {half:?} (half), {most:?} (99 %), {all:?} (all)");
    let (shortest, longest) = (hour.period.mul_f64(0.949), hour.period.mul_f64(1.051));
    let (mut periods, mut left_out) = (0, 0);
    for pair in ledger.0.iter().flat_map(|kept| kept.windows(2)) {
        let period = pair[1].due.saturating_sub(pair[0].due);
        assert!(period >= shortest, "due again after {period:?}");
        periods += 1;
        if period > longest {
            let late = pair[0].ended.saturating_sub(pair[0].due);
            assert!(late >= hour.period / 2, "due again only after {period:?}");
            left_out += 1;
        }
    }
    println!("{left_out} of {periods} periods were skipped");
    let latest = |kept: &Vec<Kept>| kept.last().expect("each is checked").due;
    let end = ledger.0.iter().map(latest).max().unwrap();
    for (target, kept) in ledger.0.iter().enumerate() {
        let missing = end.saturating_sub(latest(kept));
        assert!(missing <= longest * 2, "{target} is not checked any more");
    }
}

/// Each outcome matches the host, and no host gets more requests than necessary.
fn assert_outcomes(ledger: &Ledger, world: &World, took: Duration) {
    let astray = world.led_astray();
    assert_eq!(astray, 0, "a request reached a forbidden address");
    for (manner, may_be) in [
        (Manner::Answers, &["up 200"][..]),
        (Manner::Fails, &["status 500"]),
        (Manner::Flaps, &["broken", "host_down", "up 200"]),
        (Manner::Hangs, &["host_down", "timeout"]),
        (Manner::Resets, &["broken", "host_down"]),
        (Manner::LeadsAstray, &["refused_address"]),
        (Manner::IsGone, &["connect", "host_down"]),
    ] {
        let of = |target| Manner::of_target(target) == manner;
        let outcomes = ledger.outcomes(of);
        println!("{manner:?}: {outcomes:?}");
        let found: Vec<_> = outcomes.keys().copied().collect();
        assert_eq!(found, may_be, "{manner:?}");
        let targets = (0..TARGETS).filter(|target| of(*target));
        match manner {
            // One request for each result.
            Manner::Answers | Manner::Fails | Manner::LeadsAstray => {
                for target in targets {
                    let (asked, kept) = (world.asked(target), ledger.0[target].len());
                    assert_eq!(asked, kept, "{manner:?} {target}");
                }
            }
            // Several, until the circuit breaker opens; then an occasional one, with its retries.
            Manner::Hangs | Manner::Resets => {
                let asked: usize = targets.map(|target| world.asked(target)).sum();
                let trials = took.as_secs() / PAUSE.as_secs() + 1;
                let most = manner.hosts() * 3 * (16 + usize::try_from(trials).unwrap());
                println!("{manner:?}: asked {asked} times, of at most {most}");
                assert!(asked <= most, "{manner:?}: asked {asked} times, of {most}");
            }
            Manner::Flaps | Manner::IsGone => {}
        }
    }
}
