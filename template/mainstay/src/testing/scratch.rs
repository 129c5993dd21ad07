//! A database of its own for each test: made fast, in parallel with others, and removed in the end.

use std::fmt;

use crate::database::Engine;

/// An engine that databases can be made for, for a test.
pub trait TestEngine: Engine {
    /// Removes the database when it is dropped.
    #[doc(hidden)]
    type Place: fmt::Debug + Send + Sync;

    #[doc(hidden)]
    fn make() -> (String, Self::Place);
}

/// A database that no other test uses, with nothing in it. It is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch<E: TestEngine> {
    url: String,
    _place: E::Place,
}

impl<E: TestEngine> Scratch<E> {
    /// Makes one.
    #[must_use]
    pub fn new() -> Self {
        let (url, place) = E::make();
        Self { url, _place: place }
    }

    /// Where it is: the setting `database.url`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl<E: TestEngine> Default for Scratch<E> {
    fn default() -> Self {
        Self::new()
    }
}
