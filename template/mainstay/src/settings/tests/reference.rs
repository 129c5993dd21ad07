//! A reference of several files: those of the machinery, and the service's own.

use garde::Validate;
use serde::Deserialize;

use super::{Example, Given, REFERENCE};
use crate::settings::{Reference, Sources, load};

/// The file of a service: its own settings, and changed defaults.
const OWN: &str = r#"
# Greetings.
[greetings]
# How many there are.
most = 3

[http]
# Where this service listens.
listen = "127.0.0.1:7000"
timeout = "5s"
workers = 1
# Its own.
name = "a"
"#;

#[test]
fn changed_default_is_the_lowest_layer() {
    let reference = Reference::new(&[REFERENCE, OWN]);
    for (set, workers) in [(vec![], 1), (vec!["http.workers=2".to_owned()], 2)] {
        let sources = Sources {
            set,
            ..Sources::default()
        };
        let loaded = load::<Example>(&reference, &sources).unwrap();
        assert_eq!(loaded.settings.http.pool.workers, workers);
    }
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
        assert_eq!(again.keys, reference.keys);
        // The comments above the sections are the same as well.
        assert_eq!(again.to_toml(), text);
    }
}

#[test]
fn later_reference_changes_defaults_and_comments() {
    let text = Reference::new(&[REFERENCE, OWN]).to_toml();
    let expected = r#"# What this is all about.
[http]
# Where this service listens.
listen = "127.0.0.1:7000"
# How long a request may take,
# at most.
timeout = "5s"
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
