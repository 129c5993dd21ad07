//! What stands in for the export without the feature `otlp`: it exports nothing.

use std::time::Duration;

/// No layer takes spans.
pub(crate) type Spans = tracing_subscriber::layer::Identity;

#[derive(Debug, Clone)]
pub(crate) struct Export;

#[expect(
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the feature `otlp`"
)]
impl Export {
    pub(crate) fn spans(&self) -> Option<Spans> {
        None
    }

    pub(crate) async fn run(self, _page: impl Fn() -> String) {}

    pub(crate) async fn close(&self, _within: Duration) {}
}
