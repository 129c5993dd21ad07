//! The types of settings, and their rules.

use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, Error};

/// Deserializes a type that is written as text. `expected` says what `parse` accepts, in words that follow "expected".
pub fn from_text<'de, D: Deserializer<'de>, T>(
    value: D,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    let text = String::deserialize(value).ok();
    let parsed = text.and_then(|text| parse(&text));
    parsed.ok_or_else(|| Error::custom(format_args!("expected {expected}")))
}

/// Like [`from_text`], for a secret: its value is never printed. `parse` may [print a part of it](redact_as).
pub fn from_secret_text<'de, D: Deserializer<'de>, T>(
    value: D,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, D::Error> {
    redact_as(REDACTED);
    let parse = |text: &str| parse(text).filter(|_| !text.contains(REDACTED));
    from_text(value, expected, parse)
}

/// Printed in place of a secret.
pub const REDACTED: &str = "[redacted]";

thread_local! {
    /// What is printed in place of the value that is deserialized. serde itself has no way to pass it on.
    pub(super) static SHOWN: Cell<Option<String>> = const { Cell::new(None) };
}

/// Declares that the value that is deserialized is a secret, and is printed as this.
pub fn redact_as(shown: impl Into<String>) {
    SHOWN.set(Some(shown.into()));
}

/// Secret text. `Debug` and `config print` hide it.
#[derive(Debug, Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret in plain text. Call this where the secret is used, and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "text, and not what `config print` shows in its place";
        from_secret_text(value, expected, |text| Some(Self(text.into())))
    }
}

/// A number of bytes, written as `512B`, `64KiB` or `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "a size, such as `512B`, `64KiB` or `1MiB`";
        from_text(value, expected, Self::parse)
    }
}

/// A value with a unit.
pub trait Quantity: Copy + PartialOrd {
    /// Parses a number with its unit, such as `10s` or `64KiB`.
    fn parse(text: &str) -> Option<Self>;
}

impl Quantity for Duration {
    fn parse(text: &str) -> Option<Self> {
        // A longer one is a mistake, and could overflow an instant.
        let year = Self::from_hours(366 * 24);
        let parsed = humantime::parse_duration(text).ok();
        parsed.filter(|duration| *duration <= year)
    }
}

impl Quantity for ByteSize {
    fn parse(text: &str) -> Option<Self> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let scale: usize = match unit.trim_start() {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<usize>().ok()?.checked_mul(scale).map(Self)
    }
}

/// Deserializes a whole number in a range, `#[serde(deserialize_with = "whole_number::<1, 100, _, _>")]`.
pub fn whole_number<'de, const LEAST: u64, const MOST: u64, D, T>(value: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = u64::deserialize(value).ok();
    let number = number.filter(|number| (LEAST..=MOST).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    let expected = format_args!("expected a whole number from {LEAST} to {MOST}");
    number.ok_or_else(|| Error::custom(expected))
}

/// A rule: a value is not below the limit, `#[garde(custom(at_least("100ms")))]`.
pub fn at_least<T: Quantity>(least: &str) -> impl Fn(&T, &()) -> garde::Result {
    move |value, &()| {
        let is_enough = T::parse(least).is_some_and(|least| *value >= least);
        rule(is_enough, &[], format_args!("must be at least {least}"))
    }
}

/// A rule: a value is in the range, limits included, `#[garde(custom(within("8KiB", "1MiB")))]`.
pub fn within<T: Quantity>(least: &str, most: &str) -> impl Fn(&T, &()) -> garde::Result {
    move |value, &()| {
        let is_within = (T::parse(least)..=T::parse(most)).contains(&Some(*value));
        let words = format_args!("must be from {least} to {most}");
        rule(is_within, &[], words)
    }
}

/// The outcome of a rule between several settings, which the report shows. A key with a dot is of another section.
pub fn rule(holds: bool, keys: &[&str], words: impl Display) -> garde::Result {
    if holds {
        return Ok(());
    }
    // An error of garde is text: `load` takes it apart.
    Err(garde::Error::new(format!("{}\n{words}", keys.join(" "))))
}
