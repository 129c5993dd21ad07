//! What all events, or all spans, of one place in the code have in common, in words: put together when
//! the first of them is told on a thread, and kept there.

use std::cell::RefCell;
use std::ptr;
use std::rc::Rc;

use tracing::{Level, Metadata};

use super::quoted::{begin_field, quote};

thread_local! {
    /// There are no more of them than places in the code.
    static KNOWN: RefCell<Vec<Rc<Form>>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Form {
    of: &'static Metadata<'static>,
    /// What follows the digits of the timestamp.
    pub(super) head: String,
    /// For each field, what it is called in the line, and what stands there before its value.
    pub(super) names: Vec<(&'static str, String)>,
    /// Which of the fields is the message.
    pub(super) message: Option<usize>,
    /// Two fields have the same name.
    pub(super) has_twins: bool,
}

impl Form {
    pub(super) fn of(metadata: &'static Metadata<'static>) -> Rc<Self> {
        let known = KNOWN.try_with(|known| {
            let mut known = known.borrow_mut();
            let place = known.iter().position(|form| ptr::eq(form.of, metadata));
            let place = place.unwrap_or_else(|| {
                known.push(Rc::new(Self::made(metadata)));
                known.len() - 1
            });
            // Most of what is told is the same again.
            known.swap(0, place);
            Rc::clone(&known[0])
        });
        known.unwrap_or_else(|_| Rc::new(Self::made(metadata)))
    }

    fn made(of: &'static Metadata<'static>) -> Self {
        let names: Vec<_> = of.fields().iter().map(|it| called(it.name())).collect();
        let is_twin = |(place, name)| names[..place].contains(name);
        Self {
            of,
            head: head(*of.level(), of.target()),
            message: names.iter().position(|name| *name == "message"),
            has_twins: names.iter().enumerate().any(is_twin),
            names: names.into_iter().map(|name| (name, before(name))).collect(),
        }
    }
}

/// The beginning of a line, from behind the digits of the timestamp.
pub(super) fn head(level: Level, target: &str) -> String {
    let mut text = r#"Z","level":""#.to_owned();
    text.push_str(level.as_str());
    text.push_str(r#"","target":"#);
    quote(&mut text, target);
    text
}

/// What a field is called in a line.
pub(super) fn called(name: &'static str) -> &'static str {
    match name.strip_prefix("r#").unwrap_or(name) {
        "timestamp" => "timestamp_",
        "level" => "level_",
        "target" => "target_",
        name => name,
    }
}

fn before(name: &'static str) -> String {
    let mut text = String::new();
    begin_field(&mut text, name);
    text
}
