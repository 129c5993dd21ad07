//! Several files of defaults: those of the machinery, and the service's own.

use garde::Validate;
use serde::Deserialize;

use super::{DEFAULTS, given};
use crate::settings::Table;

/// The file of a service: its own settings, and changed defaults.
const OWN: &str = r#"
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
fn later_file_changes_defaults_and_comments() {
    let text = Table::new(&[DEFAULTS, OWN]).to_toml();
    let expected = r#"[http]
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

[greetings]
# How many there are.
most = 3
"#;
    assert_eq!(text, expected);
    assert_eq!(Table::new(&[text]).to_toml(), expected);
}

#[derive(Debug, Deserialize, Validate)]
#[garde(allow_unvalidated)]
struct Own {
    #[serde(rename = "http.size")]
    _size: u16,
}

#[test]
#[should_panic(expected = "the setting `http.size`, which the program reads, has no default")]
fn field_without_a_key_panics() {
    _ = given().load_by::<Own>("[http]\nother = 1\n");
}

#[test]
#[should_panic(expected = "the default of the setting `http.size` is not valid")]
fn default_that_does_not_fit_panics() {
    _ = given().load_by::<Own>("[http]\nsize = -1\n");
}
