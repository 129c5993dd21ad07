//! The types of settings, and what each allows.

use std::net::SocketAddr;
use std::time::Duration;

use config::ValueKind;
use secrecy::{ExposeSecret, SecretString};

/// The type of a setting. Implement it to use a type of your own.
pub trait Setting: Sized {
    /// What [`parse`](Self::parse) accepts, in words that follow "expected".
    const EXPECTED: &'static str;
    /// Whether values are secrets: they are never printed, and not taken from the command line.
    const SECRET: bool = false;

    /// [`EXPECTED`](Self::EXPECTED), unless the text depends on another type.
    #[must_use]
    fn expected() -> String {
        Self::EXPECTED.to_owned()
    }

    /// Parses a value; `None` if it is not allowed.
    fn parse(value: &ValueKind) -> Option<Self>;

    /// The part of a secret that may be printed.
    fn redacted(&self) -> String {
        REDACTED.to_owned()
    }
}

/// A value as TOML.
pub(super) fn toml_of(kind: &ValueKind) -> toml::Value {
    match kind {
        ValueKind::Boolean(flag) => (*flag).into(),
        ValueKind::I64(number) => (*number).into(),
        ValueKind::Float(number) => (*number).into(),
        ValueKind::Array(items) => items
            .iter()
            .map(|item| toml_of(&item.kind))
            .collect::<Vec<_>>()
            .into(),
        ValueKind::Nil => "(a date, or a number beyond 64 bits)".into(),
        other => other.to_string().into(),
    }
}

/// Printed in place of a secret.
pub const REDACTED: &str = "[redacted]";

fn text(value: &ValueKind) -> Option<&str> {
    match value {
        ValueKind::String(text) => Some(text),
        _ => None,
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "text";

    fn parse(value: &ValueKind) -> Option<Self> {
        text(value).map(str::to_owned)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "`true` or `false`";

    fn parse(value: &ValueKind) -> Option<Self> {
        match value {
            ValueKind::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ty: $expected:literal),+ $(,)?) => {$(
        impl Setting for $type {
            const EXPECTED: &'static str = $expected;

            fn parse(value: &ValueKind) -> Option<Self> {
                match value {
                    ValueKind::I64(number) => (*number).try_into().ok(),
                    _ => None,
                }
            }
        }
    )+};
}

whole_numbers! {
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number, 0 or more",
    usize: "a whole number, 0 or more",
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = "an address and a port, such as `127.0.0.1:8080` or `[::]:8080`";

    fn parse(value: &ValueKind) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration up to a year, such as `10s`, `500ms` or `1m 30s`";

    fn parse(value: &ValueKind) -> Option<Self> {
        // A longer one is a mistake, and could overflow an instant.
        let year = Duration::from_hours(366 * 24);
        humantime::parse_duration(text(value)?)
            .ok()
            .filter(|duration| *duration <= year)
    }
}

/// A number of bytes, written as `512B`, `64KiB` or `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

impl Setting for ByteSize {
    const EXPECTED: &'static str = "a size, such as `512B`, `64KiB` or `1MiB`";

    fn parse(value: &ValueKind) -> Option<Self> {
        let text = text(value)?;
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let scale: usize = match unit.trim_start() {
            "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<usize>().ok()?.checked_mul(scale).map(Self)
    }
}

/// Secret text. `Debug` and [`Setting::redacted`] hide it.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret in plain text. Call this where the secret is used, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Setting for Secret {
    const EXPECTED: &'static str = "text, and not what `config print` shows in its place";
    const SECRET: bool = true;

    fn parse(value: &ValueKind) -> Option<Self> {
        text(value)
            .filter(|text| !text.contains(REDACTED))
            .map(|text| Self(text.into()))
    }
}

/// A setting that may be left out: `""` in the reference.
impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const SECRET: bool = T::SECRET;

    fn parse(value: &ValueKind) -> Option<Self> {
        match text(value) {
            Some("") => Some(None),
            _ => T::parse(value).map(Some),
        }
    }

    fn redacted(&self) -> String {
        self.as_ref().map(T::redacted).unwrap_or_default()
    }
}

/// A list; in a variable or a flag, its items are separated by commas.
impl<T: Setting> Setting for Vec<T> {
    const EXPECTED: &'static str = "a list";
    const SECRET: bool = T::SECRET;

    fn expected() -> String {
        format!("a list, of which each is {}", T::expected())
    }

    fn parse(value: &ValueKind) -> Option<Self> {
        match value {
            ValueKind::Array(items) => items.iter().map(|item| T::parse(&item.kind)).collect(),
            _ => None,
        }
    }
}

/// Parses one of these words, for a [`Setting`] that is an enum.
#[must_use]
pub fn one_of<T: Copy>(value: &ValueKind, words: &[(&str, T)]) -> Option<T> {
    let text = text(value)?;
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, value)| *value)
}
