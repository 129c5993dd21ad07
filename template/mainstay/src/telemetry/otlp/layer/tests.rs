//! Which spans are taken down, and how they hang together.

use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Level, info_span, span};

use super::*;
use crate::context::{Context, EXPORTED_SPAN, Trace};
use crate::telemetry::otlp::queue::{BATCH, ROOM};
use crate::telemetry::page::under;
use crate::telemetry::span::{REQUEST, STATEMENT};

/// The spans that this work leaves behind, in the order of their ends.
fn spans(work: impl FnOnce()) -> Vec<Ended> {
    let queue = Arc::<Queue>::default();
    under(Spans(Arc::clone(&queue)), work);
    queue.take()
}

fn followed() -> (Context, Arc<Trace>) {
    let trace = Trace::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let trace = Arc::new(trace.unwrap());
    let context = Context {
        trace: Some(Arc::clone(&trace)),
        ..Context::until(Instant::now())
    };
    (context, trace)
}

#[test]
fn spans_of_a_request_that_is_followed_hang_together() {
    let (context, trace) = followed();
    let spans = spans(|| {
        context.sync_scope(|| {
            let request = span!(
                Level::ERROR,
                REQUEST,
                method = "GET",
                route = "/a/{id}",
                trace_id = trace.id(),
                status = Empty,
                error = Empty,
            );
            let inside = request.enter();
            span!(Level::ERROR, STATEMENT, summary = "SELECT a", line = 7_u32);
            info_span!(
                "own",
                flag = true,
                r#type = "x",
                huge = u64::MAX,
                part = 0.5
            );
            drop(inside);
            request.record("status", 500_u16);
            request.record("error", "500");
        });
    });

    let [statement, own, request] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(request.name, "GET /a/{id}");
    assert_eq!((request.id, request.parent), (trace.span(), trace.parent()));
    assert!(request.failed && request.parent_is_remote && request.kind == Kind::Server);
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        request.attributes,
        [
            ("http.request.method", text("GET")),
            ("http.route", text("/a/{id}")),
            ("http.response.status_code", Value::Whole(500)),
            ("error.type", text("500")),
        ]
    );
    assert_eq!(
        (&*statement.name, statement.kind),
        ("SELECT a", Kind::Client)
    );
    assert_eq!((&*own.name, own.kind), ("own", Kind::Internal));
    for below in [statement, own] {
        assert_eq!(below.parent, Some(request.id));
        assert_eq!(below.trace, request.trace);
        assert!(below.begin >= request.begin && below.end <= request.end);
        assert!(!below.failed && !below.parent_is_remote);
    }
    assert_eq!(
        own.attributes,
        [
            ("flag", Value::Flag(true)),
            ("type", text("x")),
            ("huge", text("18446744073709551615")),
            ("part", Value::Number(0.5)),
        ]
    );
}

#[test]
fn spans_of_another_task_belong_to_the_carried_request() {
    let (context, trace) = followed();
    let spans = spans(|| context.sync_scope(|| drop(info_span!("elsewhere"))));

    assert_eq!(spans[0].parent, Some(trace.span()));
}

#[test]
fn what_is_not_followed_leaves_nothing() {
    let (context, trace) = followed();
    let passed_over = Context {
        trace: Some(Arc::new(Trace::clone(&trace).with_sampling(false))),
        ..context
    };
    let spans = spans(|| {
        drop(info_span!("of no request"));
        passed_over.sync_scope(|| {
            let _around = span!(Level::ERROR, REQUEST, method = "GET").entered();
            drop(info_span!("inside"));
        });
    });

    assert!(spans.is_empty(), "{spans:?}");
}

#[test]
fn whoever_asks_from_inside_is_told_the_span_that_is_exported() {
    // As an export does.
    _ = EXPORTED_SPAN.set(current_span);
    let (context, trace) = followed();
    let queue = Arc::<Queue>::default();
    let mut sent = None;
    under(Spans(Arc::clone(&queue)), || {
        context.sync_scope(|| {
            let _inside = info_span!("call").entered();
            sent = Some(Context::trace_headers());
        });
    });

    let sent = sent.unwrap();
    let next = Trace::parse(sent[0].1.as_bytes()).unwrap();
    assert_eq!(next.parent(), Some(queue.take()[0].id));
    assert_ne!(next.parent(), Some(trace.span()));
}

#[test]
fn a_span_takes_no_more_than_its_room() {
    let (context, _) = followed();
    let long = "ä".repeat(LONGEST);
    let spans = spans(|| context.sync_scope(|| drop(info_span!("long", text = long))));

    let [(_, Value::Text(text))] = &spans[0].attributes[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(text.len(), LONGEST);
}

#[test]
fn of_too_many_the_newest_are_kept_and_the_others_counted() {
    let (context, _) = followed();
    let queue = Arc::<Queue>::default();
    let count = ROOM + 3;
    under(Spans(Arc::clone(&queue)), || {
        context.sync_scope(|| (0..count).for_each(|number| drop(info_span!("one", number))));
    });

    assert_eq!(queue.lost(), 3);
    let first = queue.take();
    assert_eq!(first.len(), BATCH);
    assert_eq!(first[0].attributes, [("number", Value::Whole(3))]);
    let others: usize = (1..=ROOM / BATCH).map(|_| queue.take().len()).sum();
    assert_eq!(others, ROOM - BATCH);
}
