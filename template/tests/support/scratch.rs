//! A database of its own for each test: made fast, in parallel with others, and removed in the end.

// The engine that this service was made for.{{ nl }}#[path = "{{ database }}.rs"]{{ nl }}mod engine;{% comment %}
#[cfg_attr(feature = "postgres", path = "postgres.rs")]
#[cfg_attr(not(feature = "postgres"), path = "sqlite.rs")]
mod engine;
// {% endcomment %}

/// A database that nobody else uses, with nothing in it. It is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    url: String,
    _place: engine::Place,
}

impl Scratch {
    /// Makes one.
    #[must_use]
    pub(crate) fn new() -> Self {
        let (url, place) = engine::make();
        Self { url, _place: place }
    }

    /// Where it is: the setting `database.url`.
    #[must_use]
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}
