//! A reference of several files: those of the machinery, and the service's own.

use garde::Validate;
use serde::Deserialize;

use super::{Example, Given, REFERENCE};
use crate::settings::{Reference, Sources, environment_file, load};

/// The file of a service: its own settings, and changed defaults.
const OWN: &str = r#"
# Greetings.
[greetings]
# How many there are.
most = 3

[http]
# Where this service listens.
listen = "127.0.0.1:7000"
workers = 1
# Its own.
name = "a"
"#;

#[test]
fn later_reference_changes_a_default_and_its_comment() {
    let reference = Reference::new(&[REFERENCE, OWN]);
    let text = environment_file(&reference);
    for lines in [
        "# Where this service listens.\nAPP__HTTP__LISTEN=127.0.0.1:7000\n",
        "# How many there are.\nAPP__GREETINGS__MOST=3\n",
        "# Its own.\nAPP__HTTP__NAME=a\n",
    ] {
        assert!(text.contains(lines), "{lines} is not in {text}");
    }
    assert!(!text.contains("127.0.0.1:8080"), "{text}");
}

#[test]
fn comment_stays_if_the_later_reference_has_none() {
    let later = "[http]\ntimeout = \"1s\"\n";
    let reference = Reference::new(&[REFERENCE, later]);
    let meaning = reference.meaning("http.timeout");
    assert_eq!(meaning, ["How long a request may take,", "at most."]);
    let text = environment_file(&reference);
    assert!(text.contains("\nAPP__HTTP__TIMEOUT=1s\n"), "{text}");
}

#[test]
fn keys_of_a_section_stay_together() {
    let reference = Reference::new(&[REFERENCE, OWN]);
    let keys: Vec<_> = reference.keys().collect();
    let expected = [
        "http.listen",
        "http.timeout",
        "http.workers",
        "http.verbose",
        "http.ratio",
        "http.name",
        "operator.token",
        "operator.url",
        "greetings.most",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn changed_default_is_the_lowest_layer() {
    let workers = |set: &[&str]| {
        let sources = Sources {
            set: set.iter().map(ToString::to_string).collect(),
            ..Sources::default()
        };
        let reference = Reference::new(&[REFERENCE, OWN]);
        let loaded = load::<Example>(&reference, &sources).unwrap();
        loaded.settings.http.pool.workers
    };
    assert_eq!(workers(&[]), 1);
    assert_eq!(workers(&["http.workers=2"]), 2);
}

/// Each key with its default and its meaning.
fn described(reference: &Reference) -> Vec<String> {
    let described = reference.described().iter();
    described.map(|key| format!("{key:?}")).collect()
}

#[test]
fn printed_reference_parses_to_the_same_reference() {
    let own = [REFERENCE, OWN].map(str::to_owned).to_vec();
    let machinery = vec![
        crate::sections::SETTINGS.to_owned(),
        #[cfg(feature = "_database")]
        crate::database::SETTINGS.to_owned(),
        #[cfg(feature = "_database")]
        crate::database::settings_named("archive"),
        #[cfg(feature = "idempotency")]
        crate::idempotency::SETTINGS.to_owned(),
    ];
    for texts in [own, machinery] {
        let reference = Reference::new(&texts);
        let text = reference.to_toml();
        let again = Reference::new(&[&text]);
        assert_eq!(described(&again), described(&reference));
        // The comments above the sections are the same as well.
        assert_eq!(again.to_toml(), text);
    }
}

#[test]
fn printed_reference_has_all_comments() {
    let text = Reference::new(&[REFERENCE, OWN]).to_toml();
    let expected = r#"# What this is all about.
[http]
# Where this service listens.
listen = "127.0.0.1:7000"
# How long a request may take,
# at most.
timeout = "10s"
workers = 1
verbose = false
ratio = ["a", "b"]
# Its own.
name = "a"

[operator]
token = ""
url = ""

# Greetings.
[greetings]
# How many there are.
most = 3
"#;
    assert_eq!(text, expected);
}

#[derive(Debug, Deserialize, Validate)]
#[garde(allow_unvalidated)]
struct Own {
    #[serde(rename = "http.size")]
    _size: u16,
}

#[test]
#[should_panic(expected = "no reference describes the setting `http.size`")]
fn field_without_a_key_panics() {
    _ = Given::default().load_by::<Own>("[http]\nother = 1\n");
}

#[test]
#[should_panic(expected = "the default of the setting `http.size` is not valid")]
fn default_that_does_not_fit_panics() {
    _ = Given::default().load_by::<Own>("[http]\nsize = -1\n");
}
