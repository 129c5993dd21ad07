//! Secrets are read from files, and never shown.

use super::Given;
use crate::settings::{Reader, Reference, Secret, Section, Sources, load, print};

#[test]
fn value_from_a_file_loses_its_final_newline() {
    for (content, value) in [
        ("s", "s"),
        ("s\n", "s"),
        ("s\r\n", "s"),
        ("s\n\n", "s\n"),
        ("", ""),
    ] {
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
fn secret_from_an_empty_file_is_refused() {
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
fn empty_secret_is_shown_as_empty() {
    #[derive(Debug)]
    struct Own;

    impl Section for Own {
        fn read(from: &mut Reader<'_>) -> Self {
            from.value_at::<Secret>("own.password");
            from.value_at::<Vec<Secret>>("own.headers");
            Self
        }
    }

    let reference = Reference::new(&["[own]\npassword = \"\"\nheaders = []\n"]);
    let shown = |variables: &[(&str, &str)]| {
        let pairs = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let sources = Sources {
            environment: pairs.collect(),
            ..Sources::default()
        };
        let loaded = load::<Own>(&reference, &sources).unwrap();
        loaded.entries.into_iter().map(|entry| entry.value)
    };

    assert!(shown(&[]).eq(["\"\"", "[]"]));
    let set = [
        ("APP__OWN__PASSWORD", "hunter2"),
        ("APP__OWN__HEADERS", "hunter2"),
    ];
    assert!(shown(&set).all(|value| value == "\"[redacted]\""));
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
