//! Each variant is generated, formatted, linted, documented, built and tested, as its owner would;
//! and so is the template in place.

use std::path::Path;

use harness::postgres::Postgres;
use harness::repository;
use harness::variant::{Variant, cargo_with};

/// Where the tests of a service have their databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    /// It is their own business: files, or a server that they start and throw away.
    Theirs,
    /// On the one that `DATABASE_URL` names.
    Given,
}

#[tokio::test]
async fn sqlite_with_the_monitor() {
    keeps_its_promises("sqlite", "monitor", Server::Theirs).await;
}

#[tokio::test]
async fn sqlite_with_no_example() {
    keeps_its_promises("sqlite", "none", Server::Theirs).await;
}

#[tokio::test]
async fn postgres_with_the_monitor() {
    keeps_its_promises("postgres", "monitor", Server::Theirs).await;
}

#[tokio::test]
async fn postgres_with_no_example() {
    keeps_its_promises("postgres", "none", Server::Given).await;
}

async fn keeps_its_promises(database: &str, example: &str, server: Server) {
    let project = Variant::default()
        .database(database)
        .example(example)
        .generate();
    check(project.dir(), project.name(), server, &[]).await;
}

#[tokio::test]
async fn the_template_in_place() {
    check(
        &repository::template(),
        "the template in place",
        Server::Theirs,
        &[],
    )
    .await;
}

#[tokio::test]
async fn the_template_in_place_with_the_export() {
    check(
        &repository::template(),
        "the template in place, with the export",
        Server::Theirs,
        &["--features", "otlp"],
    )
    .await;
}

#[tokio::test]
async fn the_template_in_place_on_postgres() {
    let features = ["--no-default-features", "--features", "postgres"];
    check(
        &repository::template(),
        "the template in place, on Postgres",
        Server::Given,
        &features,
    )
    .await;
}

/// What an owner's CI would check, without a warning anywhere.
async fn check(directory: &Path, name: &str, server: Server, features: &[&str]) {
    let strict = [("RUSTDOCFLAGS", "-D warnings".to_owned())];
    let run =
        |arguments: &[&str]| cargo_with(directory, name, &[arguments, features].concat(), &strict);
    cargo_with(directory, name, &["fmt", "--check"], &[]);
    run(&["doc", "--locked", "--no-deps"]);
    let clippy = [
        &["clippy", "--locked", "--all-targets"],
        features,
        &["--", "-D", "warnings"],
    ];
    cargo_with(directory, name, &clippy.concat(), &[]);
    // The library is all there is, so that a dependency which it does not use is used by nobody.
    let unused = ["--", "-D", "unused_crate_dependencies"];
    let lib = [
        &["rustc", "--locked", "--lib", "--profile", "dev"],
        features,
        &unused,
    ]
    .concat();
    cargo_with(directory, name, &lib, &[]);

    let postgres;
    let mut environment = Vec::new();
    if server == Server::Given {
        postgres = Postgres::start().await.expect("PostgreSQL starts");
        environment.push(("DATABASE_URL", postgres.url("postgres")));
    }
    let test = [&["test", "--locked"], features].concat();
    let output = cargo_with(directory, name, &test, &environment);
    let said = String::from_utf8_lossy(&output.stdout);
    let passed: usize = said
        .lines()
        .filter_map(|line| {
            line.strip_prefix("test result: ok. ")?
                .split(' ')
                .next()?
                .parse::<usize>()
                .ok()
        })
        .sum();
    assert!(
        passed >= 20,
        "{name}: only {passed} tests were run:\n{said}"
    );
}
