//! Every problem is reported, with its source and its cure.

use std::net::SocketAddr;
use std::time::Duration;

use garde::Validate;
use serde::Deserialize;

use super::given;
use crate::settings::ByteSize;

#[test]
fn later_layer_overrides_an_earlier_one() {
    let one = "[http]\nworkers = 1\ntimeout = \"1m\"\nverbose = true\nratio = []";
    let two = "[http]\nworkers = 2\ntimeout = \"2m\"\nratio = [\"x\"]";
    let files = given().file("one.toml", one).file("two.toml", two);
    let variables = files
        .env("APP__HTTP__WORKERS", "3")
        .env("APP__HTTP__RATIO", "p, q");
    let flags = variables.set("http.workers=5").set("http.workers=6");
    let http = flags.load().settings.http;
    assert_eq!(http.listen.port(), 8080);
    assert_eq!(http.timeout, Duration::from_mins(2));
    assert_eq!(http.pool.workers, 6);
    assert!(http.verbose);
    assert_eq!(http.ratio, ["p", "q"]);
}

#[test]
fn every_problem_is_in_one_report() {
    let file = "[http]\ntimeout = \"10\"\nworkers = \"7\"\n\n[htp]\nlisten = \"x\"\n";
    let report = given()
        .file("prod.toml", file)
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

  APP__HTTP__WORKER
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
    expected a whole number from 1 to 100

  http.verbose = \"yes\"  (set by APP__HTTP__VERBOSE)
    expected `true` or `false`
"
    );
}

#[test]
fn broken_rules_are_reported_with_their_sources() {
    let of_two_keys = given()
        .env("APP__HTTP__WORKERS", "11")
        .set("http.timeout=10s");
    of_two_keys.reports(
        "1 problem with the settings\n\n  \
         http.timeout = \"10s\"  (set by --set)\n  \
         http.workers = 11  (set by APP__HTTP__WORKERS)\n    \
         a second for each worker is needed\n",
    );
    let of_one_key = given().set("http.timeout=1ms");
    of_one_key.reports("  http.timeout = \"1ms\"  (set by --set)\n    must be at least 1s\n");
}

#[test]
fn text_says_what_is_expected_of_each_type() {
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Level {
        Low,
        High,
        VeryHigh,
    }

    #[derive(Debug, Deserialize, Validate)]
    #[garde(allow_unvalidated)]
    #[expect(dead_code, reason = "only the report matters")]
    struct Types {
        level: Level,
        count: u64,
        #[garde(range(min = 5))]
        size: usize,
        share: f64,
        limit: ByteSize,
        list: Vec<SocketAddr>,
    }

    let defaults = "level = \"low\"\ncount = 1\nsize = 5\nshare = 0.5\nlimit = \"1B\"\nlist = []\n";
    let wrong = "level = 1\ncount = \"x\"\nsize = 4\nshare = \"x\"\nlimit = 1\nlist = [\"x\"]\n";
    let given = given().file("wrong.toml", wrong);
    let report = given.load_by::<Types>(defaults).unwrap_err();
    for expected in [
        "level = 1",
        "expected one of `low`, `high`, `very_high`",
        "expected a whole number that fits `u64`",
        "lower than 5",
        "expected a number",
        "expected a size, such as `512B`, `64KiB` or `1MiB`",
        "expected an address and a port",
    ] {
        assert!(report.contains(expected), "{expected} is not in {report}");
    }
    assert!(report.starts_with("6 problems"), "{report}");
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
        let given = given().env(wrong, "127.0.0.1:1");
        given.reports(wrong);
        given.reports(&format!("did you mean `{right}`"));
    }
    // Variables of other programs.
    let given = given().env("APP_ENV", "production");
    given.env("APPLE", "pie").load();
}
