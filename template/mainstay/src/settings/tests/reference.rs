//! A reference of several files: those of the machinery, and the service's own.

use super::REFERENCE;
use crate::settings::{Reader, Reference, Section, Sources, environment_file, load};

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
    struct Own(u16);

    impl Section for Own {
        fn read(from: &mut Reader<'_>) -> Self {
            Self(from.value_at("http.workers"))
        }
    }

    let reference = Reference::new(&[REFERENCE, OWN]);
    let mut sources = Sources::default();
    let loaded = load::<Own>(&reference, &sources).unwrap();
    assert_eq!(loaded.settings.0, 1);
    assert_eq!(loaded.entries[0].source, "default");
    sources.set.push("http.workers=2".to_owned());
    assert_eq!(load::<Own>(&reference, &sources).unwrap().settings.0, 2);
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

#[test]
#[should_panic(expected = "no reference describes the setting `http.nothing`")]
fn reading_an_undescribed_key_panics() {
    #[derive(Debug)]
    struct Own;

    impl Section for Own {
        fn read(from: &mut Reader<'_>) -> Self {
            from.value_at::<String>("http.nothing");
            Self
        }
    }

    _ = load::<Own>(&Reference::new(&[REFERENCE]), &Sources::default());
}
