//! The settings as text.

use super::{Given, REFERENCE};
use crate::settings::{Entry, Reference, changed, print};

#[test]
fn printed_settings_read_back_the_same() {
    let given = Given::default()
        .env("APP__OPERATOR__URL", "quotes \" and \\ and \n lines")
        .set("http.ratio=a,b,c");
    let first = given.load().unwrap();

    let again = Given::default().file("printed.toml", &print(&first.entries));

    let second = again.load().unwrap();
    let values = |entries: &[Entry]| -> Vec<_> {
        entries
            .iter()
            .map(|entry| (entry.key.clone(), entry.value.clone()))
            .collect()
    };
    assert_eq!(values(&first.entries), values(&second.entries));
}

#[test]
fn printed_settings_name_each_source() {
    let given = Given::default()
        .file("prod.toml", "# a comment\n[http]\n\nworkers = 2")
        .env("APP__HTTP__VERBOSE", "true")
        .env_file("APP__OPERATOR__URL_FILE", "u")
        .set("http.timeout=1m");
    let entries = given.load().unwrap().entries;
    let source = |key: &str| {
        let entry = entries.iter().find(|entry| entry.key == key).unwrap();
        entry.source.rsplit('/').next().unwrap().to_owned()
    };

    assert_eq!(source("http.listen"), "default");
    assert_eq!(source("http.workers"), "prod.toml:4");
    assert_eq!(source("http.verbose"), "APP__HTTP__VERBOSE");
    assert_eq!(source("http.timeout"), "--set");
    assert_eq!(source("operator.url"), "APP__OPERATOR__URL_FILE)");
}

#[test]
fn environment_file_lists_every_setting() {
    let text = Reference::new(&[REFERENCE]).to_environment();

    for lines in [
        "\n# Where it listens.\nAPP__HTTP__LISTEN=127.0.0.1:8080\n",
        "\n# How long a request may take,\n# at most.\nAPP__HTTP__TIMEOUT=10s\n",
        "\nAPP__HTTP__RATIO=a,b\n",
        "\nAPP__OPERATOR__TOKEN=\n",
    ] {
        assert!(text.contains(lines), "{lines} is not in {text}");
    }
}

#[test]
fn changed_names_each_changed_key_and_secret() {
    let given = |token: &str| {
        Given::default()
            .env("APP__OPERATOR__TOKEN", token)
            .set("http.timeout=20s")
    };
    let before = given("hunter2").load().unwrap().entries;

    let same = given("hunter2").load().unwrap().entries;
    let other = given("hunter3").set("http.workers=5").load().unwrap();

    assert_eq!(changed(&before, &same), [""; 0]);
    let told = changed(&before, &other.entries);
    assert_eq!(told, ["http.workers", "operator.token"]);
}
