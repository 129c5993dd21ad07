//! What a line of the log does to a terminal: nothing.

use std::io;

use tracing::field::Empty;
use tracing::{info, info_span};
use tracing_subscriber::fmt::layer;

use super::*;
use crate::telemetry::page::{Page, under};

/// What this work logs, with or without colours.
fn text(ansi: bool, work: impl FnOnce()) -> String {
    let page = Page::default();
    let lines = layer()
        .with_ansi(ansi)
        .fmt_fields(Fields)
        .with_writer(page.clone());
    under(lines, work);
    page.text()
}

#[test]
fn an_event_is_a_line_with_its_message_and_its_fields() {
    let error = io::Error::other("no room");

    let line = text(false, || {
        info!(target: "place", number = 1, text = "a b", shown = %"c d", r#type = true, error = &error as &dyn Error, "said {}", 2);
    });

    let (_, behind) = line.split_once("Z  ").unwrap();
    assert_eq!(
        behind,
        "INFO place: said 2 number=1 text=\"a b\" shown=c d type=true error=no room\n"
    );
}

#[test]
fn an_event_inside_of_a_span_says_so() {
    let line = text(false, || {
        let span = info_span!("request", method = "GET", status = Empty);
        span.record("status", 200);
        let _inside = span.entered();
        info!(target: "place", number = 1, "said");
    });

    let (_, behind) = line.split_once("Z  ").unwrap();
    assert_eq!(
        behind,
        "INFO request{method=\"GET\" status=200}: place: said number=1\n"
    );
}

#[test]
fn control_characters_in_values_are_escaped() {
    const NASTY: &str = "a\nb\x1b[31mc\rd\u{9b}31me\x07";
    const SHOWN: &str = r"a\nb\u{1b}[31mc\rd\u{9b}31me\u{7}";
    let error = io::Error::other(NASTY);
    let say = || {
        info!(text = NASTY, shown = %NASTY, debugged = ?NASTY, error = &error as &dyn Error, "{NASTY}");
        info!(message = NASTY);
    };

    let plain = text(false, say);
    assert_eq!(plain.lines().count(), 2, "{plain:?}");
    assert!(
        !plain.chars().any(|c| c.is_control() && c != '\n'),
        "{plain:?}"
    );
    assert_eq!(plain.matches(SHOWN).count(), 6, "{plain}");

    // The colours are those of the line, and of nothing that a value says.
    let coloured = text(true, say);
    assert_eq!(coloured.lines().count(), 2, "{coloured:?}");
    assert_eq!(coloured.matches(SHOWN).count(), 6, "{coloured:?}");
    assert!(!coloured.contains("\x1b[31m") && !coloured.contains('\u{9b}'));
}

#[test]
fn a_loss_is_told_as_an_event() {
    let told = lost(7);

    let (_, behind) = told.split_once("Z  ").unwrap();
    assert!(
        behind.starts_with("WARN ") && behind.ends_with(": log lines were lost lost=7\n"),
        "{told}"
    );
}
