//! Secrets are read from files, and never shown.

use garde::Validate;
use serde::Deserialize;

use super::{Given, given};
use crate::settings::{Secret, print};

#[test]
fn value_from_a_file_loses_its_final_newlines() {
    for (content, value) in [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s")] {
        let given = given().env_file("APP__OPERATOR__URL_FILE", content);
        assert_eq!(given.load().settings.operator.url, value, "{content:?}");
    }
    for content in ["", "\n"] {
        let given = given().env_file("APP__OPERATOR__TOKEN_FILE", content);
        given.reports("is empty");
    }
}

#[test]
fn secret_is_never_shown() {
    let secret = "hunter2";
    let given = given()
        .env("APP__OPERATOR__TOKEN", secret)
        .file("f.toml", "operator.token = \"hunter2-overridden\"");
    let loaded = given.load();

    let token = loaded.settings.operator.token.as_ref().map(Secret::expose);
    assert_eq!(token, Some(secret), "exposed on request");
    assert!(print(&loaded.entries).contains("token = \"[redacted]\""));
    let json = serde_json::to_string(&loaded.entries).unwrap();
    for shown in [print(&loaded.entries), format!("{loaded:?}"), json] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn report_never_shows_a_secret() {
    let on_command_line = given().set("operator.token=hunter2");
    on_command_line.reports("set APP__OPERATOR__TOKEN_FILE instead");
    let of_wrong_type = given().file("f.toml", "operator.token = [\"hunter2\"]");
    of_wrong_type.reports("operator.token  (set by f.toml:1)");
    let mistyped = given().env("APP__OPERATOR__TOKN", "hunter2");
    mistyped.reports("did you mean `APP__OPERATOR__TOKEN`");
    let in_place_of_its_file = given().env("APP__OPERATOR__TOKEN_FILE", "hunter2");
    in_place_of_its_file.reports("APP__OPERATOR__TOKEN_FILE");
    let printed = given().env("APP__OPERATOR__TOKEN", "[redacted]");
    printed.reports("not what `config print` shows");
    let invalid = "[operator]\ntoken = hunter2\n\n[http\nlisten = \"\n";
    let invalid = given().file("bad.toml", invalid);
    invalid.reports("bad.toml:2\n    is not valid TOML");
    invalid.reports("bad.toml:4\n    is not valid TOML");
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

    let defaults = "password = \"\"\nheaders = []\n";
    let shown = |given: &Given| {
        let loaded = given.load_by::<Own>(defaults).unwrap();
        loaded.entries.into_iter().map(|entry| entry.value)
    };
    assert!(shown(&given()).eq(["\"\"", "[]"]), "empty");
    let both = "password = \"hunter2\"\nheaders = [\"hunter2\"]";
    let both = given().file("f.toml", both);
    assert!(shown(&both).all(|value| value == "\"[redacted]\""));

    let wrong = "headers = \"hunter2\"\npassword = [\"hunter2\"]";
    let refused = given().file("f.toml", wrong);
    let report = refused.load_by::<Own>(defaults).unwrap_err();
    assert!(report.starts_with("2 problems"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn refused_url_that_may_have_a_secret_is_not_shown() {
    for url in [
        "postgres://user:hunter2@localhost/db",
        "https://example.org/?key=hunter2",
    ] {
        let given = given().env("APP__HTTP__LISTEN", url);
        given.reports("http.listen");
    }
    let list = "http.ratio = [1, \"https://user:hunter2@a\"]";
    given().file("f.toml", list).reports("http.ratio");
}
