//! In the place of the export, where the feature `otlp` is not compiled in: nothing.

use std::future::{Ready, ready};
use std::time::Duration;

use tracing_subscriber::layer::Identity;

use super::{Numbers, Otlp};

/// To no collector.
#[derive(Debug, Clone)]
pub struct Export;

/// Notes no spans.
pub type Spans = Identity;

impl Export {
    /// Settings that name a collector were refused before.
    #[must_use]
    pub fn to(_: &Otlp) -> Self {
        Self
    }

    #[must_use]
    pub fn spans(&self) -> Option<Spans> {
        None
    }

    pub fn run(self, _page: impl Fn() -> String) -> Ready<()> {
        ready(())
    }

    pub fn close(&self, _within: Duration) -> Ready<()> {
        ready(())
    }
}

#[must_use]
pub fn current_span() -> Option<u64> {
    None
}

#[must_use]
pub fn numbers() -> Option<Numbers> {
    None
}
