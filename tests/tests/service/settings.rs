//! Settings from every source, in a real process.

use std::collections::BTreeMap;

use harness::fleet;

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

#[tokio::test]
async fn layers_win_in_the_order_of_the_contract() {
    let launch = hello()
        .arg("config")
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
        .arg("--config")
        .arg("low.toml")
        .arg("--config")
        .arg("high.toml")
        .env("APP_CONFIG", "/not/read/when/there/are/flags.toml")
        .env("APP__LOG__FILTER_FILE", "filter.txt")
        .env("APP__HTTP__REQUEST_TIMEOUT", "7s")
        .set("http.request_timeout", "8s");
    let printed = launch.run().await.unwrap().stdout;
    let printed = squeezed(&printed);

    assert!(
        printed.contains("acquire_timeout = \"1s\" # low.toml:3\n"),
        "{printed}"
    );
    assert!(
        printed.contains("max_connections = 2 # high.toml:2\n"),
        "{printed}"
    );
    assert!(
        printed.contains("filter = \"warn\" # APP__LOG__FILTER_FILE (filter.txt)\n"),
        "{printed}"
    );
    assert!(
        printed.contains("request_timeout = \"8s\" # --set\n"),
        "{printed}"
    );
    assert!(
        printed.contains("migrate_on_start = true # default\n"),
        "{printed}"
    );
}

#[tokio::test]
async fn config_files_can_be_named_by_a_variable() {
    let launch = hello()
        .arg("config")
        .arg("print")
        .file("one.toml", "log.filter = \"warn\"\nlog.format = \"json\"\n")
        .file("two.toml", "log.filter = \"error\"\n")
        .env("APP_CONFIG", "one.toml:two.toml");
    let printed = squeezed(&launch.run().await.unwrap().stdout);

    assert!(
        printed.contains("filter = \"error\" # two.toml:1\n"),
        "{printed}"
    );
    assert!(
        printed.contains("format = \"json\" # one.toml:2\n"),
        "{printed}"
    );
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
        .run()
        .await
        .unwrap();

    assert_eq!(output.code, Some(1));
    let report = output.stderr;
    for expected in [
        "error: 5 problems with the settings",
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
async fn flags_work_before_and_after_the_command() {
    let launch = hello()
        .file("a.toml", "[log]\nformat = \"json\"\nfilter = \"warn\"\n")
        .file("b.toml", "log.filter = \"error\"\n");
    let mut launch = launch;
    for argument in [
        ["--config", "a.toml"].as_slice(),
        &["--set", "http.request_timeout=7s", "config"],
        &["--config", "b.toml", "--set", "shutdown.delay=1s", "print"],
        &[
            "--set",
            "http.body_limit=2MiB",
            "--set",
            "http.request_timeout=8s",
        ],
    ]
    .concat()
    {
        launch = launch.arg(argument);
    }
    let printed = squeezed(&launch.run().await.unwrap().stdout);

    for line in [
        "format = \"json\" # a.toml:2\n",
        "filter = \"error\" # b.toml:1\n",
        "delay = \"1s\" # --set\n",
        "body_limit = \"2MiB\" # --set\n",
        "request_timeout = \"8s\" # --set\n",
    ] {
        assert!(printed.contains(line), "{line} is not in:\n{printed}");
    }
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

/// Removes the padding of columns.
fn squeezed(text: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect::<Vec<_>>().join("\n") + "\n"
}
