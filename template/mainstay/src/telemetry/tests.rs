//! What the tests of the log share, and the text for terminals.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::{Dispatch, info};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;

use super::*;

/// Keeps written lines.
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

/// Runs `work` with this layer alone.
pub(super) fn under(
    layer: impl Layer<registry::Registry> + Send + Sync + 'static,
    work: impl FnOnce(),
) {
    // With a single subscriber, `tracing` may cache the interest of a thread that has none.
    let _second = Dispatch::new(registry());
    tracing::subscriber::with_default(registry().with(layer), work);
}

#[test]
fn text_has_no_control_characters_of_values() {
    const NASTY: &str = "a\nb\x1b[31mc\rd\u{9b}31me\x07";
    let shown = NASTY.replace(char::is_control, "\u{fffd}");
    let page = Page::default();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .fmt_fields(debug_fn(format_field).delimited(" "))
        .with_writer(page.clone());

    under(layer, || {
        info!(target: "place", shown = %NASTY, "said {NASTY}");
        info!(target: "place", message = "ready", r#type = 1);
    });

    let text = page.text();
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.split_once("Z  ").unwrap().1)
        .collect();
    let first = format!("INFO place: said {shown} shown={shown}");
    assert_eq!(lines, [&first, "INFO place: ready type=1"]);
}
