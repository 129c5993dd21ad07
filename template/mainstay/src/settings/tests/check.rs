//! The rules of a section, with relative and with full keys.

use std::time::Duration;

use crate::settings::{Check, Reader, Reference, Section, Sources, load};

const REFERENCE: &str = r#"
[http]
timeout = "10s"

[first]
size = 5
wait = "1s"

[second]
size = 5
wait = "1s"
"#;

#[derive(Debug)]
struct All {
    _timeout: Duration,
    _first: Pool,
    _second: Pool,
}

/// A section with two instances. Its rules use relative keys.
#[derive(Debug)]
struct Pool {
    size: u32,
    wait: Duration,
}

impl Section for All {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            _timeout: from.value_at("http.timeout"),
            _first: from.section("first"),
            _second: from.section("second"),
        }
    }
}

impl Section for Pool {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            size: from.value("size"),
            wait: from.value("wait"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.range("size", self.size, 1..=10);
        let timeout = check.value::<Duration>("http.timeout");
        check.that(
            timeout.is_none_or(|timeout| self.wait < timeout),
            &["wait", "http.timeout"],
            "must be the shorter one",
        );
        assert_eq!(check.value::<Duration>("wait"), Some(self.wait));
    }
}

fn report(set: &[&str]) -> String {
    let sources = Sources {
        set: set.iter().map(ToString::to_string).collect(),
        ..Sources::default()
    };
    let problems = load::<All>(&Reference::new(&[REFERENCE]), &sources);
    problems.unwrap_err().to_string()
}

#[test]
fn key_with_a_dot_may_be_of_another_section() {
    let report = report(&["first.wait=1m"]);
    let expected = "1 problem with the settings\n\n  \
        first.wait = \"1m\"  (set by --set)\n  \
        http.timeout = \"10s\"  (set by default)\n    must be the shorter one\n";
    assert_eq!(report, expected);
}

#[test]
fn each_instance_of_a_section_is_checked() {
    let report = report(&["first.size=0", "second.wait=1h", "second.size=0"]);
    assert!(report.starts_with("3 problems"), "{report}");
    for key in ["first.size = 0", "second.size = 0", "second.wait = \"1h\""] {
        assert!(report.contains(key), "{key} is not in {report}");
    }
    assert!(!report.contains("first.wait"), "{report}");
}

#[test]
fn wrong_type_and_wrong_number_have_one_message() {
    for (value, shown) in [("lots", "\"lots\""), ("0", "0"), ("-1", "-1")] {
        let report = report(&[&format!("second.size={value}")]);
        let expected = format!(
            "1 problem with the settings\n\n  \
             second.size = {shown}  (set by --set)\n    expected a whole number from 1 to 10\n"
        );
        assert_eq!(report, expected);
    }
}
