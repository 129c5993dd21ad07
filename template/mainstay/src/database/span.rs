//! The span of a statement, in a request that is sampled.
//!
//! It has the verb of the statement, its table, and the location in the code; never the text, which may contain
//! values.

use tracing::Span;
use tracing::field::Empty;

use super::engine::Engine;
use super::pool::Caller;
use crate::context::Trace;
use crate::telemetry::span;

/// The span of this statement, if the current request is sampled.
pub(super) fn of<E: Engine>(sql: &str, caller: Caller) -> Span {
    if Trace::current_sampled().is_none() {
        return Span::none();
    }
    let (operation, table) = summary(sql);
    let summary = match table {
        Some(table) => format!("{operation} {table}"),
        None => operation.to_owned(),
    };
    // No filter but `off` disables this level.
    tracing::error_span!(
        span::STATEMENT,
        system = E::SYSTEM,
        operation,
        summary,
        file = caller.file(),
        line = caller.line(),
        error = Empty,
    )
}

/// The verb of a statement, and its table.
fn summary(sql: &str) -> (&'static str, Option<&str>) {
    // From the first literal, quoted name or comment on, a word may be a value.
    let plain = sql.split(['\'', '"', '`', '[', '$', '-', '/']).next();
    let mut words = plain
        .unwrap_or_default()
        .split(|c: char| !(c.is_alphanumeric() || "_.".contains(c)))
        .filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let is_first = |verb: &&str| verb.eq_ignore_ascii_case(first);
    let Some(verb) = VERBS.into_iter().find(is_first) else {
        return ("OTHER", None);
    };
    let precedes_table = |word: &str| {
        let mut keywords = ["FROM", "INTO", "TABLE"].into_iter();
        keywords.any(|keyword| keyword.eq_ignore_ascii_case(word))
    };
    let table = if verb == "UPDATE" || words.any(precedes_table) {
        words.next()
    } else {
        None
    };
    let is_name = |name: &&str| !VERBS.contains(name) && !name.starts_with(char::is_numeric);
    (verb, table.filter(is_name))
}

const VERBS: [&str; 14] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "VALUES", "BEGIN", "COMMIT", "ROLLBACK",
    "CREATE", "ALTER", "DROP", "PRAGMA", "SET",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_names_verb_and_table() {
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
    fn span_contains_no_value_of_the_statement() {
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
