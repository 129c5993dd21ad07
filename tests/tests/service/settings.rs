//! Settings from every source, in a real process.

use std::process::Command;

use harness::fleet;
use harness::service::Launch;

use crate::{hello, run};

#[tokio::test]
async fn every_listed_variable_is_accepted() {
    let listed = run(hello(), "config env").await.stdout;
    let lines = listed.lines().filter(|line| !line.starts_with('#'));
    let variables: Vec<_> = lines.filter_map(|line| line.split_once('=')).collect();
    assert!(variables.len() > 15, "{variables:?}");

    let launch = variables
        .iter()
        .fold(hello(), |launch, (name, value)| launch.env(*name, *value));
    let printed = run(launch, "config print").await;

    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let printed = printed.stdout;
    for (name, _) in variables {
        let is_source = printed.contains(&format!("# {name}\n"));
        assert!(is_source, "{name}:\n{printed}");
    }
    assert!(!printed.contains("# default"), "{printed}");
}

/// Asserts that this command, `config print`, shows these lines, with single spaces.
async fn assert_printed(launch: Launch, command: &str, lines: &[&str]) {
    let printed = run(launch, command).await.stdout;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let found: Vec<_> = printed.lines().map(words).collect();
    for line in lines {
        let is_there = found.iter().any(|found| found.ends_with(line));
        assert!(is_there, "{line} is not in:\n{printed}");
    }
}

#[tokio::test]
async fn layers_win_in_the_order_of_the_contract() {
    // Flags work before and after the command.
    let low = "[database]\nmax_connections = 1\nacquire_timeout = \"1s\"\n";
    let high = "[database]\nmax_connections = 2\n\n[log]\nfilter = \"debug\"\n";
    let launch = hello()
        .file("low.toml", low)
        .file("high.toml", high)
        .file("filter.txt", "warn\n")
        .env("APP_CONFIG", "/not/read/when/there/are/flags.toml")
        .env("APP__LOG__FILTER_FILE", "filter.txt")
        .env("APP__HTTP__REQUEST_TIMEOUT", "7s")
        .set("http.request_timeout", "8s");
    let command = "--config low.toml --set shutdown.delay=1s config --config high.toml print \
         --set http.request_timeout=9s";
    let lines = [
        "acquire_timeout = \"1s\" # low.toml:3",
        "max_connections = 2 # high.toml:2",
        "filter = \"warn\" # APP__LOG__FILTER_FILE (filter.txt)",
        "request_timeout = \"8s\" # --set",
        "delay = \"1s\" # --set",
        "migrate_on_start = true # default",
    ];
    assert_printed(launch, command, &lines).await;

    let launch = hello()
        .file("one.toml", "log.filter = \"warn\"\nlog.format = \"json\"\n")
        .file("two.toml", "log.filter = \"error\"\n")
        .env("APP_CONFIG", "one.toml:two.toml");
    let lines = [
        "filter = \"error\" # two.toml:1",
        "format = \"json\" # one.toml:2",
    ];
    assert_printed(launch, "config print", &lines).await;
}

#[tokio::test]
async fn all_wrong_settings_are_named() {
    for command in [
        "config check --config missing.toml",
        "serve --config missing.toml",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let launch = hello()
            .directory(directory.path())
            .env("APP__DATABASE__MAX_CONNECTIONS", "0123")
            .env("APP__HTTP__REQUEST_TIMEOUT", "1s")
            .env("APP__DATABASE__URL", "mysql://root:hunter2@localhost/db")
            .set("shutdown.grace", "10s")
            .set("operator.listen", "0.0.0.0:9090");
        let output = run(launch, command).await;

        assert_eq!(output.code, Some(1), "{command}");
        let report = output.stderr;
        for expected in [
            "error: 6 problems with the settings",
            "needs a token",
            "missing.toml\n    cannot be read",
            "database.max_connections = \"0123\"  (set by APP__DATABASE__MAX_CONNECTIONS)",
            "database.url  (set by APP__DATABASE__URL)\n    expected the SQLite URL",
            "http.request_timeout = \"1s\"  (set by APP__HTTP__REQUEST_TIMEOUT)",
            "shutdown.grace = \"10s\"  (set by --set)",
        ] {
            assert!(report.contains(expected), "{expected} is not in:\n{report}");
        }
        assert!(!report.contains("hunter2"), "{report}");
        let created = std::fs::read_dir(directory.path()).unwrap();
        assert_eq!(created.count(), 0, "{command} created a file");
    }
    let fine = run(hello(), "config check").await;
    assert_eq!((fine.code, fine.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn failed_output_is_an_error_and_no_panic() {
    let shell = |script: &str| {
        let script = script.replace("SVC", &fleet::HELLO.binary().display().to_string());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{script}: {said}");
        output.status.code()
    };
    assert_eq!(shell("SVC config print > /dev/full"), Some(1));
    assert_eq!(shell("SVC config check --set x=1 2> /dev/full"), Some(1));
    assert_eq!(shell("SVC config env | head -n 1 > /dev/null"), Some(0));
}

#[tokio::test]
async fn failed_start_is_reported_with_logging_off() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let launch = hello().set("log.filter", "off").set("http.listen", address);
    let exit = launch.start().await.unwrap().exit().await;

    assert_eq!(exit.code, Some(1));
    let is_named = exit.stderr.contains(&format!("cannot bind {address}"));
    assert!(is_named, "{}", exit.stderr);
}
