//! A statement, and the span that it has inside of a request that is followed.
//!
//! The span says what kind of statement it is, on which table, and from where in the code; never its
//! text, since values may have been put into that.

use sqlx::error::BoxDynError;
use sqlx::{Error, Execute, SqlStr};
use tracing::Span;
use tracing::field::Empty;

use super::engine::Engine;
use super::errors::code;
use super::loan::Place;
use crate::context::Trace;
use crate::telemetry::span;

/// A statement that is about to run. What sqlx has is taken apart: it tells its text only to whoever
/// runs it.
pub(super) struct Statement<E: Engine> {
    sql: SqlStr,
    prepared: Option<E::Statement>,
    arguments: Result<Option<E::Arguments>, BoxDynError>,
    is_persistent: bool,
}

impl<E: Engine> Statement<E> {
    pub(super) fn of<'q>(mut query: impl Execute<'q, E>) -> Self {
        Self {
            prepared: query.statement().cloned(),
            arguments: query.take_arguments(),
            is_persistent: query.persistent(),
            sql: query.sql(),
        }
    }

    pub(super) fn text(&self) -> &str {
        self.sql.as_str()
    }
}

impl<E: Engine> Execute<'_, E> for Statement<E> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&E::Statement> {
        self.prepared.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<E::Arguments>, BoxDynError> {
        std::mem::replace(&mut self.arguments, Ok(None))
    }

    fn persistent(&self) -> bool {
        self.is_persistent
    }
}

/// Around a statement, if the request at hand is followed.
pub(super) fn begun(system: &'static str, sql: &str, place: Place) -> Span {
    if Trace::current_sampled().is_none() {
        return Span::none();
    }
    let (operation, table) = summary(sql);
    let summary = match table {
        Some(table) => format!("{operation} {table}"),
        None => operation.to_owned(),
    };
    // No filter but `off` is above this level.
    tracing::error_span!(
        span::STATEMENT,
        system,
        operation,
        summary,
        file = place.file(),
        line = place.line(),
        error = Empty,
    )
}

/// What it has failed with.
pub(super) fn failed(span: &Span, error: &Error) {
    if !span.is_disabled() {
        span.record("error", &*code(error));
    }
}

/// The verb of a statement, and the table that it is about.
fn summary(sql: &str) -> (&'static str, Option<&str>) {
    // From the first literal, quoted name or comment on, anything may be a value.
    let plain = sql.split(['\'', '"', '`', '[', '$', '-', '/']).next();
    let plain = plain.unwrap_or_default().trim_start();
    let mut words = plain
        .split(|c: char| !(c.is_alphanumeric() || "_.".contains(c)))
        .filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let verb = |verb: &&str| verb.eq_ignore_ascii_case(first);
    let Some(verb) = VERBS.into_iter().find(verb) else {
        return ("OTHER", None);
    };
    let is_before = |word: &str| BEFORE_TABLES.iter().any(|it| it.eq_ignore_ascii_case(word));
    let table = if verb == "UPDATE" || words.any(is_before) {
        words.next()
    } else {
        None
    };
    let is_name = |name: &&str| !VERBS.contains(name) && !name.starts_with(char::is_numeric);
    (verb, table.filter(is_name))
}

/// What statements begin with.
const VERBS: [&str; 14] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "BEGIN", "COMMIT", "ROLLBACK",
    "CREATE", "ALTER", "DROP", "PRAGMA", "SET",
];

/// What stands before the name of a table.
const BEFORE_TABLES: [&str; 3] = ["FROM", "INTO", "TABLE"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_by_its_verb_and_its_table() {
        for (sql, verb, table) in [
            (
                "SELECT id, url FROM targets WHERE id = $1",
                "SELECT",
                Some("targets"),
            ),
            (
                "INSERT INTO targets (url)\n SELECT $1",
                "INSERT",
                Some("targets"),
            ),
            (
                "  update public.targets SET url = $1",
                "UPDATE",
                Some("public.targets"),
            ),
            (
                "DELETE FROM targets WHERE id = $1",
                "DELETE",
                Some("targets"),
            ),
            ("SELECT 1", "SELECT", None),
            ("SELECT count(*) FROM (SELECT 1)", "SELECT", None),
            ("-- canary\nSELECT 1", "OTHER", None),
            ("BEGIN IMMEDIATE", "BEGIN", None),
            ("", "OTHER", None),
            ("VACUUM", "OTHER", None),
        ] {
            assert_eq!(summary(sql), (verb, table), "{sql}");
        }
    }

    #[test]
    fn no_value_in_a_text_is_told() {
        for sql in [
            "SELECT 'canary'",
            "SELECT 'x FROM canary'",
            "SELECT id FROM targets WHERE url = 'canary'",
            "SELECT \"a FROM canary\" FROM b",
            "SELECT $$ FROM canary $$",
            "SELECT 1 /* FROM canary */",
            "SELECT 1 FROM 17",
        ] {
            let (verb, table) = summary(sql);
            assert_eq!(verb, "SELECT");
            assert!([None, Some("targets")].contains(&table), "{sql}: {table:?}");
        }
    }
}
