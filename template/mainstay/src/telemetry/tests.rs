//! The text for terminals.

use tracing::info;

use super::*;
use crate::tests::{Page, under};

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
