//! Settings, from every layer of a real process.

use std::collections::BTreeMap;

use crate::service;

#[tokio::test]
async fn every_variable_that_is_listed_is_taken() {
    let listed = service().arg("config").arg("env").run().await.unwrap();
    assert_eq!(listed.code, Some(0));
    let variables: BTreeMap<_, _> = listed
        .stdout
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split_once('=').expect("a variable and its value"))
        .collect();
    assert!(variables.len() > 15, "{variables:?}");

    let mut launch = service().arg("config").arg("print");
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
    let launch = service()
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
async fn files_can_be_named_by_a_variable() {
    let launch = service()
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
async fn config_check_tells_everything_at_once_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let output = service()
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
        "database.url  (set by APP__DATABASE__URL)\n    expected a SQLite URL",
        "http.request_timeout = \"1s\"  (set by APP__HTTP__REQUEST_TIMEOUT)",
        "shutdown.grace = \"10s\"  (set by --set)",
    ] {
        assert!(report.contains(expected), "{expected} is not in:\n{report}");
    }
    assert!(!report.contains("hunter2"), "{report}");
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        0,
        "nothing was made"
    );

    let fine = service().arg("config").arg("check").run().await.unwrap();
    assert_eq!((fine.code, fine.stderr.as_str()), (Some(0), ""));
}

/// Columns are for people.
fn squeezed(text: &str) -> String {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect::<Vec<_>>().join("\n") + "\n"
}
