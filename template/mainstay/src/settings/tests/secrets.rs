//! Secrets are read from files, and never shown.

use garde::Validate;
use serde::Deserialize;

use super::Given;
use crate::settings::{Secret, print};

#[test]
fn value_from_a_file_loses_its_final_newline() {
    for (content, value) in [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n")] {
        let given = Given::default().env_file("APP__OPERATOR__URL_FILE", content);
        assert_eq!(given.settings().operator.url, value, "{content:?}");
    }
}

#[test]
fn variable_and_its_file_conflict() {
    let report = Given::default()
        .env("APP__OPERATOR__TOKEN", "hunter2")
        .env_file("APP__OPERATOR__TOKEN_FILE", "hunter3")
        .report();

    assert!(
        report.contains("is set by APP__OPERATOR__TOKEN as well"),
        "{report}"
    );
    assert!(!report.contains("hunter"), "{report}");
}

#[test]
fn secret_is_never_shown() {
    let secret = "hunter2";
    let given = Given::default()
        .env("APP__OPERATOR__TOKEN", secret)
        .file("f.toml", "operator.token = \"hunter2-overridden\"");
    let loaded = given.load().unwrap();

    let token = loaded.settings.operator.token.as_ref().map(Secret::expose);
    assert_eq!(token, Some(secret), "exposed on request");
    assert!(print(&loaded.entries).contains("token = \"[redacted]\""));
    let json = serde_json::to_string(&loaded.entries).unwrap();
    for shown in [print(&loaded.entries), format!("{loaded:?}"), json] {
        assert!(!shown.contains(secret), "{shown}");
    }

    let on_command_line = Given::default().set("operator.token=hunter2").report();
    assert!(
        on_command_line.contains("set APP__OPERATOR__TOKEN_FILE instead"),
        "{on_command_line}"
    );
    assert!(!on_command_line.contains(secret), "{on_command_line}");

    let of_wrong_type = Given::default()
        .file("f.toml", "operator.token = [\"hunter2\"]")
        .report();
    assert!(
        of_wrong_type.contains("operator.token  (set by f.toml:1)"),
        "{of_wrong_type}"
    );
    assert!(!of_wrong_type.contains(secret), "{of_wrong_type}");

    let mistyped = Given::default().env("APP__OPERATOR__TOKN", secret).report();
    assert!(
        mistyped.contains("did you mean `APP__OPERATOR__TOKEN`"),
        "{mistyped}"
    );
    assert!(!mistyped.contains(secret), "{mistyped}");
}

#[test]
fn redaction_mark_is_refused_as_a_secret() {
    let report = Given::default()
        .env("APP__OPERATOR__TOKEN", "[redacted]")
        .report();
    assert!(report.contains("not what `config print` shows"), "{report}");
}

#[test]
fn empty_file_is_refused() {
    for content in ["", "\n"] {
        let report = Given::default()
            .env_file("APP__OPERATOR__TOKEN_FILE", content)
            .report();
        assert!(report.contains("is empty"), "{report}");
    }
}

#[test]
fn secret_in_a_file_variable_is_not_shown() {
    let report = Given::default()
        .env("APP__OPERATOR__TOKEN_FILE", "hunter2")
        .report();
    assert!(report.contains("APP__OPERATOR__TOKEN_FILE"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn secrets_of_each_shape_are_hidden() {
    #[derive(Debug, Deserialize, Validate)]
    #[garde(allow_unvalidated)]
    #[expect(dead_code, reason = "only what is printed matters")]
    struct Own {
        password: Secret,
        headers: Vec<Secret>,
    }

    let reference = "password = \"\"\nheaders = []\n";
    let shown = |given: &Given| {
        let loaded = given.load_by::<Own>(reference).unwrap();
        loaded.entries.into_iter().map(|entry| entry.value)
    };
    assert!(shown(&Given::default()).eq(["\"\"", "[]"]), "empty");
    let given = Given::default().file("f.toml", "password = \"hunter2\"\nheaders = [\"hunter2\"]");
    assert!(shown(&given).all(|value| value == "\"[redacted]\""));

    let wrong = "headers = \"hunter2\"\npassword = [\"hunter2\"]";
    let refused = Given::default()
        .file("f.toml", wrong)
        .load_by::<Own>(reference);
    let report = refused.unwrap_err().to_string();
    assert!(report.starts_with("2 problems"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn refused_url_that_may_have_a_secret_is_not_shown() {
    for url in [
        "postgres://user:hunter2@localhost/db",
        "https://example.org/?key=hunter2",
    ] {
        let report = Given::default().env("APP__HTTP__LISTEN", url).report();

        assert!(report.contains("http.listen"), "{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
    let report = Given::default()
        .file("f.toml", "http.ratio = [1, \"https://user:hunter2@a\"]")
        .report();
    assert!(!report.contains("hunter2"), "{report}");
}
