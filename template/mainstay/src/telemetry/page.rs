//! A page that logs are written on, for tests.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;

/// Keeps what is written.
#[derive(Debug, Clone, Default)]
pub(super) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Page {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Does this work, with this layer alone.
pub(super) fn under(
    layer: impl Layer<registry::Registry> + Send + Sync + 'static,
    work: impl FnOnce(),
) {
    // With one subscriber alone, `tracing` may decide on another thread's behalf, which has none,
    // that an event interests nobody.
    let _second = Dispatch::new(registry());
    tracing::subscriber::with_default(registry().with(layer), work);
}
