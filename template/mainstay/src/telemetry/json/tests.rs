//! The lines of JSON, as a machine reads them.

use serde_json::{Value, json};
use tracing::field::Empty;
use tracing::{info, info_span, warn};

use super::*;
use crate::tests::{PATIENCE, Page, under};

/// What this work logs.
fn text(work: impl FnOnce()) -> String {
    let page = Page::default();
    let writer = Writer::start(1 << 20, page.clone()).unwrap();
    under(Json(writer), work);
    writer.flush(PATIENCE);
    page.text()
}

/// The one line that this work logs, behind its time.
fn line(work: impl FnOnce()) -> String {
    let text = text(work);
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "{line}");
    assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    let (_, behind) = line.split_once("Z\",").unwrap();
    behind.to_owned()
}

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.map(Result::unwrap).collect()
}

#[derive(Debug, thiserror::Error)]
#[error("cannot save")]
struct Outer(#[source] Inner);

#[derive(Debug, thiserror::Error)]
#[error("no \"room\"")]
struct Inner;

/// One event with each type of value.
fn all_types() {
    let (absent, text) = (None::<u64>, String::from("text"));
    info!(
        message = "all",
        number = 1_u8,
        negative = -2,
        most = u64::MAX,
        least = i64::MIN,
        beyond = u128::MAX,
        part = 0.25,
        whole = 3.0,
        huge = 1e300,
        none = f64::NAN,
        flag = true,
        text,
        shown = %"a \"b\"",
        debugged = ?Some("x"),
        bytes = &b"ab"[..],
        absent,
        "a name" = 1,
    );
    warn!("with {} in it", 2);
    warn!(target: "elsewhere", cause = "no\nmessage");
}

#[test]
fn names_and_values_equal_those_of_fmt_json() {
    let theirs = Page::default();
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_writer(theirs.clone());
    under(layer, all_types);

    let (ours, theirs) = (parsed(&text(all_types)), parsed(&theirs.text()));

    assert_eq!(ours.len(), 3);
    for (mut ours, mut theirs) in ours.into_iter().zip(theirs) {
        for event in [&mut ours, &mut theirs] {
            event["timestamp"] = json!(event["timestamp"].as_str().unwrap().len());
        }
        assert_eq!(ours, theirs);
    }
}

#[test]
fn timestamp_is_utc_in_microseconds() {
    let at = |since: Duration| {
        let mut formatter = Formatter::default();
        // The first one fills what is kept for a second.
        formatter.begin(UNIX_EPOCH);
        formatter.begin(UNIX_EPOCH + since);
        let (_, time) = formatter.line.text.split_once(":\"").unwrap();
        time.to_owned()
    };

    assert_eq!(at(Duration::ZERO), "1970-01-01T00:00:00.000000");
    let little = Duration::from_nanos(1_999);
    assert_eq!(at(little), "1970-01-01T00:00:00.000001");
    let leap = Duration::new(1_709_210_096, 987_654_321);
    assert_eq!(at(leap), "2024-02-29T12:34:56.987654");
}

#[test]
fn no_value_ends_its_string_or_its_line() {
    let mut nasty: String = (0..=0x9f).filter_map(char::from_u32).collect();
    nasty += "\u{2028}\u{2029} \\\" é £ … 🦀";

    let text = text(|| {
        info!(text = nasty, shown = %nasty, "{nasty}");
        info!(target: "a\n\"target", number = 1, "a name\n\"" = 1, "said");
    });

    assert_eq!(text.lines().count(), 2, "{text}");
    let is_odd = |c: char| c.is_control() && c != '\n' || "\u{2028}\u{2029}".contains(c);
    assert!(!text.contains(is_odd), "{text:?}");
    let events = parsed(&text);
    for name in ["message", "text", "shown"] {
        assert_eq!(events[0][name], nasty, "{name}");
    }
    assert_eq!(events[1]["target"], "a\n\"target");
    assert_eq!(events[1]["a name\n\""], 1);
}

#[test]
fn each_name_stands_in_an_event_once() {
    let line = line(|| {
        info!(
            target: "place",
            timestamp = 1,
            level = "high",
            target = "other",
            r#type = "raw",
            twice = 1,
            twice = "again",
            target_ = "too late",
            message = "second",
            "first",
        );
    });

    assert_eq!(
        line,
        r#""level":"INFO","target":"place","message":"first","timestamp_":1,"level_":"high","target_":"other","type":"raw","twice":1}"#
    );
}

#[test]
fn error_is_logged_with_its_sources() {
    let error = Outer(Inner);

    let line = line(|| info!(error = &error as &dyn Error, "failed"));

    let logged = r#""message":"failed","error":"cannot save: no \"room\""}"#;
    assert!(line.ends_with(logged), "{line}");
}

#[test]
fn event_has_fields_of_its_spans_innermost_first_and_once() {
    let line = line(|| {
        let outer = info_span!("outer", method = "GET", status = Empty, number = 1);
        let inner = info_span!(parent: &outer, "inner", number = 2, target = "x", text = "a \"b\"");
        outer.record("status", 200);
        outer.record("number", 7);
        let _inside = inner.entered();
        info!(target: "place", method = "own", "said");
    });

    assert_eq!(
        line,
        r#""level":"INFO","target":"place","message":"said","method":"own","number":2,"target_":"x","text":"a \"b\"","status":200}"#
    );
}

#[test]
fn value_that_logs_while_recorded_finds_its_span() {
    struct Talks;
    impl fmt::Display for Talks {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!("talking");
            f.write_str("done")
        }
    }

    let text = text(|| {
        let span = info_span!("span", first = 1, value = Empty);
        let _inside = span.enter();
        span.record("value", tracing::field::display(Talks));
        info!("after");
    });

    let events = parsed(&text);
    assert_eq!(events[0]["first"], 1);
    assert_eq!(events[1]["value"], "done");
}
