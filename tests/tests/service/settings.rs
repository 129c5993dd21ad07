//! Settings from every source, in a real process.

use std::collections::BTreeMap;

use harness::fleet;
use harness::service::Launch;

use crate::hello;

#[tokio::test]
async fn every_listed_variable_is_accepted() {
    let listed = hello().arg("config").arg("env").run().await.unwrap();
    assert_eq!(listed.code, Some(0));
    let variables: BTreeMap<_, _> = listed
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once('=').expect("a variable and its value"))
        .collect();
    assert!(variables.len() > 15, "{variables:?}");

    let mut launch = hello().arg("config").arg("print");
    for (name, value) in &variables {
        launch = launch.env(*name, *value);
    }
    let printed = launch.run().await.unwrap();

    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    for name in variables.keys() {
        assert!(
            printed.stdout.contains(&format!("# {name}\n")),
            "{name}:\n{}",
            printed.stdout
        );
    }
    assert!(!printed.stdout.contains("# default"), "{}", printed.stdout);
}

/// Asserts that `config print` shows these lines, with single spaces.
async fn assert_printed(launch: Launch, lines: &[&str]) {
    let printed = launch.run().await.unwrap().stdout;
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let found: Vec<_> = printed.lines().map(words).collect();
    for line in lines {
        assert!(
            found.iter().any(|found| found.ends_with(line)),
            "{line} is not in:\n{printed}"
        );
    }
}

#[tokio::test]
async fn layers_win_in_the_order_of_the_contract() {
    // Flags work before and after the command.
    let launch = hello()
        .arg("--config")
        .arg("low.toml")
        .arg("--set")
        .arg("shutdown.delay=1s")
        .arg("config")
        .arg("--config")
        .arg("high.toml")
        .arg("print")
        .file(
            "low.toml",
            "[database]\nmax_connections = 1\nacquire_timeout = \"1s\"\n",
        )
        .file(
            "high.toml",
            "[database]\nmax_connections = 2\n\n[log]\nfilter = \"debug\"\n",
        )
        .file("filter.txt", "warn\n")
        .env("APP_CONFIG", "/not/read/when/there/are/flags.toml")
        .env("APP__LOG__FILTER_FILE", "filter.txt")
        .env("APP__HTTP__REQUEST_TIMEOUT", "7s")
        .arg("--set")
        .arg("http.request_timeout=9s")
        .set("http.request_timeout", "8s");
    let lines = [
        "acquire_timeout = \"1s\" # low.toml:3",
        "max_connections = 2 # high.toml:2",
        "filter = \"warn\" # APP__LOG__FILTER_FILE (filter.txt)",
        "request_timeout = \"8s\" # --set",
        "delay = \"1s\" # --set",
        "migrate_on_start = true # default",
    ];
    assert_printed(launch, &lines).await;

    let launch = hello()
        .arg("config")
        .arg("print")
        .file("one.toml", "log.filter = \"warn\"\nlog.format = \"json\"\n")
        .file("two.toml", "log.filter = \"error\"\n")
        .env("APP_CONFIG", "one.toml:two.toml");
    let lines = [
        "filter = \"error\" # two.toml:1",
        "format = \"json\" # one.toml:2",
    ];
    assert_printed(launch, &lines).await;
}

#[tokio::test]
async fn config_check_reports_all_problems_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let output = hello()
        .directory(directory.path())
        .arg("config")
        .arg("check")
        .arg("--config")
        .arg("missing.toml")
        .env("APP__DATABASE__MAX_CONNECTIONS", "0123")
        .env("APP__HTTP__REQUEST_TIMEOUT", "1s")
        .env("APP__DATABASE__URL", "mysql://root:hunter2@localhost/db")
        .set("shutdown.grace", "10s")
        .set("operator.listen", "0.0.0.0:9090")
        .run()
        .await
        .unwrap();

    assert_eq!(output.code, Some(1));
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
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        0,
        "no file was created"
    );

    let fine = hello().arg("config").arg("check").run().await.unwrap();
    assert_eq!((fine.code, fine.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn failed_output_is_an_error_and_no_panic() {
    let shell = |script: &str| {
        let script = script.replace("SVC", &fleet::HELLO.binary().display().to_string());
        let output = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
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
    assert!(
        exit.stderr.contains(&format!("cannot bind {address}")),
        "{}",
        exit.stderr
    );
    let mistyped = hello()
        .arg("config")
        .arg("check")
        .set("log.filter", "inof")
        .run()
        .await;
    assert_eq!(mistyped.unwrap().code, Some(1), "an invalid level");
}
