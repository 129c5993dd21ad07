//! Every variant is formatted, linted, documented, built and tested without a warning, as in its
//! owner's CI. All variants are built at once, as members of the fleet. So is the template in
//! place.

use std::collections::BTreeSet;
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use harness::fleet::{self, MEMBERS, Member, NO_DATABASE};
use harness::postgres::Postgres;
use harness::repository;
use harness::variant::cargo_with;

/// Serializes these tests: a build would slow down the others, some of which measure time.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_fleet_is_formatted_linted_and_documented() {
    let _turn = one_at_a_time();
    fleet::cargo(&["fmt", "--all", "--check"], &[]);
    // Its `app.rs` leaves most of its `hello.rs` unused.
    let lint = ["clippy", "--workspace", "--exclude", NO_DATABASE.name()];
    let warnings = ["--", "-D", "warnings"];
    fleet::cargo(&[&lint[..], &["--all-targets"], &warnings].concat(), &[]);
    // Without tests, so that a dependency counts only if the code itself uses it.
    let code = ["--lib", "--bins"];
    let unused = ["-D", "unused_crate_dependencies"];
    fleet::cargo(&[&lint[..], &code, &warnings, &unused].concat(), &[]);
    let strict = [("RUSTDOCFLAGS", "-D warnings".to_owned())];
    let documented = fleet::cargo(&["doc", "--workspace", "--no-deps"], &strict);
    // For example about two files of the same name, or about profiles that have no effect.
    let output = String::from_utf8_lossy(&documented.stderr);
    assert!(!output.contains("warning"), "{output}");
}

#[test]
fn the_tests_of_the_fleet_pass() {
    let _turn = one_at_a_time();
    fleet::cargo(&["build", "--workspace"], &[]);
    let built = test(&["--no-run"], &[]);
    assert_eq!(built_anew(&built), [""; 0], "see tests/faults/Cargo.toml");

    // Side by side, since most tests wait. The doctests compile, so they come last.
    let run = |part: &[&str]| passed(&test(part, &[]));
    let (units, services) = thread::scope(|scope| {
        let units = scope.spawn(|| run(&["--lib", "--bins"]));
        let services = run(&["--test", "*"]);
        (units.join().expect("the unit tests pass"), services)
    });
    let passed = [units, services, run(&["--doc"])];

    let is_complete = passed.iter().sum::<usize>() >= 400 && !passed.contains(&0);
    assert!(
        is_complete,
        "units, services, doctests: only {passed:?} were run"
    );
}

/// The tests of a service use the server that they are given, as in CI, or start one.
#[tokio::test]
async fn tests_use_the_postgres_that_they_are_given() {
    let postgres = Postgres::start().await.expect("PostgreSQL starts");
    let given = [("DATABASE_URL", postgres.url("postgres"))];
    let _turn = one_at_a_time();
    // Only the tests of processes, but of every member, so that nothing is rebuilt.
    let tested = test(&["--test", "service"], &given);
    assert!(passed(&tested) >= 10, "{tested:?}");
}

#[test]
fn the_template_in_place_is_formatted_and_linted() {
    let _turn = one_at_a_time();
    let cargo = |arguments: &[&str]| {
        let place = repository::template();
        cargo_with(&place, "the template in place", arguments, &[]);
    };
    cargo(&["fmt", "--all", "--check"]);
    let clippy = ["clippy", "--locked", "--workspace", "--all-targets"];
    let warnings = ["--", "-D", "warnings"];
    // On SQLite, with the machinery and the dependencies of the fleet; then on Postgres.
    let machinery = "mainstay/cron,mainstay/gzip,mainstay/idempotency,mainstay/otlp,\
                     mainstay/postgres,mainstay/rate-limit,mainstay/testing";
    for features in [&["--features", machinery][..], &["--all-features"]] {
        cargo(&[&clippy[..], features, &warnings].concat());
    }
}

/// Runs the tests of every member whose code matches them.
fn test(arguments: &[&str], environment: &[(&str, String)]) -> Output {
    let shapes = MEMBERS.iter().filter(|member| member.is_shape());
    let excluded: Vec<_> = shapes.flat_map(|it| ["--exclude", it.name()]).collect();
    let test = [&["test", "--workspace"], &excluded[..], arguments];
    fleet::cargo(&test.concat(), environment)
}

/// Dependencies that a build compiled again although an earlier one could provide them.
fn built_anew(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    let lines = said.lines();
    let compiled = lines.filter_map(|line| line.trim_start().strip_prefix("Compiling "));
    let names = compiled.filter_map(|line| line.split(' ').next());
    let own: BTreeSet<_> = MEMBERS.iter().map(Member::name).collect();
    names
        .filter(|name| !own.contains(name) && *name != "mainstay")
        // A rival in a benchmark, which no build needs.
        .filter(|name| *name != "json-subscriber")
        .map(str::to_owned)
        .collect()
}

/// The number of passed tests.
fn passed(output: &Output) -> usize {
    let said = String::from_utf8_lossy(&output.stdout);
    let lines = said.lines();
    let results = lines.filter_map(|line| line.strip_prefix("test result: ok. "));
    let counts = results.filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    counts.sum()
}
