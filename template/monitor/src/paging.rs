//! Pagination.
//!
//! - A page has up to `limit` elements. If there are more, the body has the cursor of the next page in
//!   `next`, and the head has a `Link`.
//! - A cursor is the position after an element, also if that element is removed. So an element that exists
//!   during the whole iteration is listed exactly once, whatever is added or removed meanwhile.
//! - All pages cost the same, wherever they are in the list.
//!
//! The order of a list, and the statement that reads it, belong to its module.

use std::fmt::{self, Display, Formatter};

use axum::http::{HeaderName, header};
use garde::Validate;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::IntoParams;

/// The requested part of a list.
#[derive(Debug, Clone, Copy, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// Where the page begins: the `next` of the page before it. Without one, it is the first page.
    #[garde(skip)]
    #[param(value_type = String, required = false, pattern = "^[0-9a-f]{16}$")]
    cursor: Option<Cursor>,
    /// The most elements of the page.
    #[garde(range(min = 1, max = 100))]
    #[param(minimum = 1, maximum = 100, default = 50)]
    #[serde(default = "Part::default_limit")]
    limit: u32,
}

impl Part {
    fn default_limit() -> u32 {
        50
    }

    /// The position after which the page begins, or `all` for the first page.
    pub(super) fn behind(&self, all: i64) -> i64 {
        self.cursor.map_or(all, |cursor| cursor.0)
    }

    /// How many elements to read: one more than the page has shows whether there is another page.
    pub(super) fn probe(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The page, from the elements that were read.
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

/// A page, and the position of the next one.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) elements: Vec<T>,
    pub(super) next: Option<Cursor>,
    limit: u32,
}

impl<T> Page<T> {
    /// The `Link` header for the next page of the list at this path, if there is one.
    pub(super) fn link(&self, path: &str) -> Option<[(HeaderName, String); 1]> {
        let (next, limit) = (self.next?, self.limit);
        let link = format!("<{path}?cursor={next}&limit={limit}>; rel=\"next\"");
        Some([(header::LINK, link)])
    }
}

/// The position after the element with this number. Clients see 16 opaque digits, so that the order can
/// change.
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
    fn cursor_round_trips_and_refuses_other_text() {
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
    fn page_links_to_the_next_only_if_there_is_one() {
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
