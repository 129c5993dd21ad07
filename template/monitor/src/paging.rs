//! Pages of a list: the one way in which this API tells long things.
//!
//! - A page has so many elements as are asked for with `limit`, and says where the next one begins, as
//!   `next` in its body and as a `Link` in its head. The last page says neither.
//! - A place in a list is behind one of its elements, whether that is still there or not. So whatever comes
//!   and goes meanwhile, nothing that was there all the time is left out or told twice.
//! - It costs the same to have a page from the end of a list as from its beginning.
//!
//! In which order a list is, and how it is read, is for whoever has it.

use std::fmt::{self, Display, Formatter};

use axum::http::{HeaderName, header};
use garde::Validate;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::IntoParams;

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// Where it begins: the `next` of the page before it. Without one, it is the first.
    #[garde(skip)]
    #[param(value_type = String, required = false, pattern = "^[0-9a-f]{16}$")]
    cursor: Option<Cursor>,
    /// The most elements that it has.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100, default = 50)]
    #[serde(default = "Part::usual")]
    limit: u32,
}

impl Part {
    fn usual() -> u32 {
        50
    }

    /// The element behind which it begins; or else this, which is before them all.
    pub(super) fn behind(&self, all: i64) -> i64 {
        self.cursor.map_or(all, |cursor| cursor.0)
    }

    /// How many elements to look for: one more than are wanted tells whether there is another page.
    pub(super) fn probe(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// What is on the page, of all that was found.
    pub(super) fn page<T>(&self, mut found: Vec<T>, place: impl Fn(&T) -> i64) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| has_more);
        Page {
            next: last.map(|last| Cursor(place(last))),
            limit: self.limit,
            elements: found,
        }
    }
}

/// Some elements of a list, and where the others are.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) elements: Vec<T>,
    pub(super) next: Option<Cursor>,
    limit: u32,
}

impl<T> Page<T> {
    /// The header that tells where the next page of the list at this path is, if there is one.
    pub(super) fn link(&self, path: &str) -> Option<[(HeaderName, String); 1]> {
        let (next, limit) = (self.next?, self.limit);
        let link = format!("<{path}?cursor={next}&limit={limit}>; rel=\"next\"");
        Some([(header::LINK, link)])
    }
}

/// Behind the element of this number. Clients see sixteen digits that mean nothing to them, so that the
/// order of a list can become another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor(i64);

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

    #[test]
    fn a_page_tells_of_another_one_only_if_there_is_one() {
        let part = Part {
            cursor: None,
            limit: 2,
        };
        assert_eq!(part.probe(), 3);
        for (found, on_it, next) in [
            (vec![], vec![], None),
            (vec![7, 8], vec![7, 8], None),
            (vec![7, 8, 9], vec![7, 8], Some(Cursor(8))),
        ] {
            let page = part.page(found, |number| *number);
            assert_eq!((&page.elements, page.next), (&on_it, next));
            let link = page.link("/list").map(|[(_, link)]| link);
            let there = "</list?cursor=0000000000000008&limit=2>; rel=\"next\"";
            assert_eq!(link.as_deref(), next.map(|_| there));
        }
    }
}
