//! Every problem is reported, with its source and its cure.

use std::net::SocketAddr;
use std::time::Duration;

use super::Given;

#[test]
fn later_layer_overrides_an_earlier_one() {
    let given = Given::default()
        .file(
            "one.toml",
            "[http]\nworkers = 1\ntimeout = \"1m\"\nverbose = true\nratio = []",
        )
        .file(
            "two.toml",
            "[http]\nworkers = 2\ntimeout = \"2m\"\nratio = [\"x\"]",
        )
        .env("APP__HTTP__WORKERS", "3")
        .env("APP__HTTP__RATIO", "p, q")
        .set("http.workers=5")
        .set("http.workers=6");

    let http = given.settings().http;

    assert_eq!(
        http.listen,
        SocketAddr::from(([127, 0, 0, 1], 8080)),
        "the default"
    );
    assert!(http.verbose, "the first file");
    assert_eq!(http.timeout, Duration::from_mins(2), "the second file");
    assert_eq!(http.ratio, ["p", "q"], "the environment");
    assert_eq!(http.workers, 6, "the last flag");
}

#[test]
fn every_problem_is_in_one_report() {
    let report = Given::default()
        .file(
            "prod.toml",
            "[http]\ntimeout = \"10\"\nworkers = \"7\"\n\n[htp]\nlisten = \"x\"\n",
        )
        .env("APP__HTTP__VERBOSE", "yes")
        .env("APP__HTTP__WORKER", "7")
        .env("APP__OPERATOR__URL_FILE", "/does/not/exist")
        .set("http.listn=x")
        .set("nonsense")
        .report();

    assert_eq!(
        report,
        "\
8 problems with the settings

  htp.listen  (set by prod.toml:6)
    is not a setting; did you mean `http.listen`?

  http.worker  (set by APP__HTTP__WORKER)
    is not a setting; did you mean `APP__HTTP__WORKERS`?

  APP__OPERATOR__URL_FILE (/does/not/exist)
    names a file that cannot be read: No such file or directory (os error 2)

  http.listn  (set by --set)
    is not a setting; did you mean `http.listen`?

  --set
    expected `--set key=value`, found no `=`

  http.timeout = \"10\"  (set by prod.toml:2)
    expected a duration up to a year, such as `10s`, `500ms` or `1m 30s`

  http.workers = \"7\"  (set by prod.toml:3)
    expected a whole number from 0 to 65535

  http.verbose = \"yes\"  (set by APP__HTTP__VERBOSE)
    expected `true` or `false`
"
    );
}

#[test]
fn conflicting_values_are_reported_with_their_sources() {
    let report = Given::default().env("APP__HTTP__WORKERS", "11").report();

    assert_eq!(
        report,
        "\
1 problem with the settings

  http.timeout = \"10s\"  (set by default)
  http.workers = 11  (set by APP__HTTP__WORKERS)
    a second for each worker is needed
"
    );
}

#[test]
fn rules_skip_values_that_are_already_wrong() {
    let report = Given::default()
        .env("APP__HTTP__WORKERS", "11")
        .set("http.timeout=soon")
        .report();

    assert!(report.starts_with("1 problem "), "{report}");
    assert!(report.contains("http.timeout = \"soon\""), "{report}");
}

#[test]
fn mistyped_variable_is_reported() {
    for (wrong, right) in [
        ("APP_HTTP_LISTEN", "APP__HTTP__LISTEN"),
        ("APP_HTTP__LISTEN", "APP__HTTP__LISTEN"),
        ("APP__HTTP_LISTEN", "APP__HTTP__LISTEN"),
        ("APP__http__listen", "APP__HTTP__LISTEN"),
        ("APP__HTTP__LISTENER", "APP__HTTP__LISTEN"),
        ("APP_OPERATOR_TOKEN_FILE", "APP__OPERATOR__TOKEN_FILE"),
        ("app__http__listen", "APP__HTTP__LISTEN"),
    ] {
        let report = Given::default().env(wrong, "127.0.0.1:1").report();
        assert!(report.contains(wrong), "{report}");
        assert!(
            report.contains(&format!("did you mean `{right}`")),
            "{report}"
        );
    }
    // Variables of other programs.
    Given::default()
        .env("APP_ENV", "production")
        .env("APPLE", "pie")
        .settings();
}

#[test]
fn invalid_toml_is_reported_by_line_and_never_quoted() {
    let report = Given::default()
        .file(
            "bad.toml",
            "[operator]\ntoken = hunter2\n\n[http\nlisten = \"\n",
        )
        .report();

    assert!(
        report.contains("bad.toml:2\n    is not valid TOML"),
        "{report}"
    );
    assert!(report.contains("bad.toml:4"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}
