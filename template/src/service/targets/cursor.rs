//! A place in the list of targets: behind one of them, whether that is still there or not.

use std::fmt::{self, Display, Formatter};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Behind the target of this number. Clients see sixteen digits that mean nothing to them, so that the
/// order of the list can become another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor(pub(super) i64);

impl Display for Cursor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Cursor {
    fn read(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_whole = text.len() == 16 && text.bytes().all(is_digit);
        let number = u64::from_str_radix(text, 16).ok()?;
        is_whole.then_some(Self(number.cast_signed()))
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| D::Error::custom("no cursor"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_and_nothing_else_is_one() {
        for number in [0, 1, 50, i64::MAX, -1, i64::MIN] {
            let cursor = Cursor(number);
            assert_eq!(Cursor::read(&cursor.to_string()), Some(cursor));
        }
        for text in [
            "",
            "1",
            "000000000000001g",
            "000000000000000A",
            "+000000000000001",
            "00000000000000001",
        ] {
            assert_eq!(Cursor::read(text), None, "{text}");
        }
    }
}
