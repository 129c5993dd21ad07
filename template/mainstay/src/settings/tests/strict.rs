//! Types accept their own values only.

use std::time::Duration;

use super::given;
use crate::settings::{ByteSize, Quantity};

#[test]
fn numbers_and_flags_are_not_coerced() {
    let numbers = "no yes lots 0123 1.5 4.0 1e1 -1 0 101 65536 99999999999999999999 '4' 4\nx=1";
    for wrong in numbers.split(' ').chain([""]) {
        let given = given().env("APP__HTTP__WORKERS", wrong);
        given.reports("1 problem with the settings\n\n  http.workers = ");
        given.reports("(set by APP__HTTP__WORKERS)\n    expected a whole number from 1 to 100\n");
    }
    for wrong in ["no", "0", "1", "TRUE", "True", "on", ""] {
        let given = given().env("APP__HTTP__VERBOSE", wrong);
        given.reports("expected `true` or `false`");
    }
    let numbers = "\"no\"|true|1.0|[4]|{ a = 1 }|1979-05-27|65536|99999999999999999999";
    let texts = "7|[]|{ a = 1 }|{}|99999999999999999999";
    for (key, wrong) in [("http.workers", numbers), ("operator.url", texts)] {
        for wrong in wrong.split('|') {
            let file = format!("{key} = {wrong}");
            given().file("f.toml", &file).reports(key);
        }
    }
}

#[test]
fn text_is_kept_as_written() {
    for text in "0123|1e5|TRUE| spaces |a=b|[1]|\"quoted\"|7".split('|') {
        for given in [
            given().env("APP__OPERATOR__URL", text),
            given().set(&format!("operator.url={text}")),
            given().env_file("APP__OPERATOR__URL_FILE", text),
        ] {
            assert_eq!(given.load().settings.operator.url, text);
        }
    }
}

#[test]
fn empty_table_sets_nothing() {
    let empty = given().file("f.toml", "[http]\n# workers = 7\n\n[operator]\n");
    assert_eq!(empty.load().settings.http.pool.workers, 4);
    let removes = given()
        .file("one.toml", "operator.token = \"hunter2\"")
        .file("two.toml", "operator.token = {}");
    removes.reports("operator.token  (set by two.toml:1)");
}

#[test]
fn section_and_value_are_not_mixed_up() {
    for (file, words) in [
        ("http = 5", "http  (set by f.toml:1)\n    is not a setting"),
        ("[[operator]]", "operator  (set by f.toml:1)"),
        ("[http.listen]\nport = 1", "http.listen.port"),
        ("operator.\"url.x\" = 1", "operator.url.x"),
        ("[htpp]", "htpp  (set by f.toml:1)"),
    ] {
        given().file("f.toml", file).reports(words);
    }
}

#[test]
fn durations_and_sizes_parse_with_units() {
    for (text, millis) in [
        ("10s", 10_000),
        ("1m 30s", 90_000),
        ("500ms", 500),
        ("1.5s", 1500),
        ("0s", 0),
    ] {
        assert_eq!(Duration::parse(text), Some(Duration::from_millis(millis)));
    }
    for wrong in ["", "10", "s", "-1s", "ten seconds", "1 fortnight", "2years"] {
        assert_eq!(Duration::parse(wrong), None, "{wrong:?}");
    }
    for (text, bytes) in [("512B", 512), ("64 KiB", 65_536), ("1MiB", 1_048_576)] {
        assert_eq!(ByteSize::parse(text), Some(ByteSize(bytes)));
    }
    for wrong in "|1|MiB|1.5MiB|-1B|1mib|1Mib|99999999999999999999B|99999999999GiB".split('|') {
        assert_eq!(ByteSize::parse(wrong), None, "{wrong:?}");
    }
}
