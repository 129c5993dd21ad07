//! Types accept their own values only.

use std::time::Duration;

use super::Given;
use crate::settings::{ByteSize, Quantity};

#[test]
fn numbers_and_flags_are_not_coerced() {
    for wrong in "no yes 0123 1.5 4.0 1e1 -1 65536 99999999999999999999 '4' 4\nx=1"
        .split(' ')
        .chain([""])
    {
        let report = Given::default().env("APP__HTTP__WORKERS", wrong).report();
        assert!(
            report.contains("expected a whole number"),
            "{wrong:?}: {report}"
        );
    }
    for wrong in "\"no\"|true|1.0|[4]|{ a = 1 }|1979-05-27|65536".split('|') {
        let report = Given::default()
            .file("f.toml", &format!("http.workers = {wrong}"))
            .report();
        assert!(report.contains("http.workers"), "{wrong}: {report}");
    }
    for wrong in ["no", "0", "1", "TRUE", "True", "on", ""] {
        let report = Given::default().env("APP__HTTP__VERBOSE", wrong).report();
        assert!(
            report.contains("expected `true` or `false`"),
            "{wrong:?}: {report}"
        );
    }
}

#[test]
fn text_is_kept_as_written() {
    for text in "0123|1e5|TRUE| spaces |a=b|[1]|\"quoted\"|7".split('|') {
        assert_eq!(
            Given::default()
                .env("APP__OPERATOR__URL", text)
                .settings()
                .operator
                .url,
            text
        );
        let flag = format!("operator.url={text}");
        assert_eq!(Given::default().set(&flag).settings().operator.url, text);
        let file = Given::default().env_file("APP__OPERATOR__URL_FILE", text);
        assert_eq!(file.settings().operator.url, text);
    }
    let number = Given::default().file("f.toml", "operator.url = 7").report();
    assert!(
        number.contains("expected text"),
        "a number in a file is not text: {number}"
    );
}

#[test]
fn unsupported_toml_values_are_refused() {
    for wrong in [
        "operator.url = 1979-05-27",
        "operator.url = 99999999999999999999",
        "http.workers = 99999999999999999999",
        "operator.url = {}",
        "[operator.url]",
        "\"operator.url\" = \"x\"",
        "operator.\"url.x\" = 1",
        "[[operator]]",
    ] {
        let report = Given::default().file("f.toml", wrong).report();
        assert!(
            report.contains("operator") || report.contains("http.workers"),
            "{wrong}: {report}"
        );
        assert!(report.contains("f.toml:1"), "{wrong}: {report}");
    }
}

#[test]
fn empty_section_sets_nothing() {
    let given = Given::default().file("f.toml", "[http]\n# workers = 7\n\n[operator]\n");
    assert_eq!(given.settings().http.pool.workers, 4);
}

#[test]
fn empty_table_does_not_remove_a_value() {
    let given = Given::default()
        .file("one.toml", "operator.token = \"hunter2\"")
        .file("two.toml", "operator.token = {}");
    assert!(
        given
            .report()
            .contains("operator.token  (set by two.toml:1)"),
        "{}",
        given.report()
    );
}

#[test]
fn section_and_value_are_not_mixed_up() {
    let report = Given::default().file("f.toml", "http = 5").report();
    assert!(
        report.contains("http  (set by f.toml:1)\n    is a section"),
        "{report}"
    );

    let report = Given::default()
        .file("f.toml", "[http.listen]\nport = 1")
        .report();
    assert!(report.contains("http.listen.port"), "{report}");

    let report = Given::default().file("f.toml", "[htpp]").report();
    assert!(
        report.contains("htpp  (set by f.toml:1)"),
        "an unknown section is reported even if it is empty: {report}"
    );
}

#[test]
fn durations_and_sizes_parse_with_units() {
    let duration = |text: &str| Duration::parse(text);
    assert_eq!(duration("10s"), Some(Duration::from_secs(10)));
    assert_eq!(duration("1m 30s"), Some(Duration::from_secs(90)));
    assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
    assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
    assert_eq!(duration("0s"), Some(Duration::ZERO));
    for wrong in ["", "10", "s", "-1s", "ten seconds", "1 fortnight"] {
        assert_eq!(duration(wrong), None, "{wrong:?}");
    }

    let size = |text: &str| ByteSize::parse(text);
    assert_eq!(size("512B"), Some(ByteSize(512)));
    assert_eq!(size("64 KiB"), Some(ByteSize(65_536)));
    assert_eq!(size("1MiB"), Some(ByteSize(1_048_576)));
    assert_eq!(size("2MB"), Some(ByteSize(2_000_000)));
    for wrong in "|1|MiB|1.5MiB|-1B|1mib|1Mib|99999999999999999999B|99999999999GiB".split('|') {
        assert_eq!(size(wrong), None, "{wrong:?}");
    }
}
