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
    if sql.is_empty() || Trace::current_sampled().is_none() {
        return Span::none();
    }
    let (operation, table) = operation_and_table(sql);
    // No filter but `off` disables this level.
    tracing::error_span!(
        span::STATEMENT,
        system = E::SYSTEM,
        operation,
        summary = format!("{operation} {table}").trim_end(),
        file = caller.file(),
        line = caller.line(),
        error = Empty,
    )
}

fn operation_and_table(sql: &str) -> (String, &str) {
    // From the first literal, quoted name or comment on, a word may be a value.
    let plain = sql.split(['\'', '"', '`', '[', '$', '-', '/']).next();
    let mut words = plain.unwrap_or_default().split_whitespace();
    let operation = words.next().unwrap_or("OTHER").to_ascii_uppercase();
    let precedes_table = |word: &str| {
        let mut keywords = ["FROM", "INTO", "TABLE"].into_iter();
        keywords.any(|keyword| keyword.eq_ignore_ascii_case(word))
    };
    let table = if operation == "UPDATE" || words.any(precedes_table) {
        words.next().unwrap_or_default()
    } else {
        ""
    };
    let end = table.find(|c: char| !(c.is_alphanumeric() || "_.".contains(c)));
    let name = &table[..end.unwrap_or(table.len())];
    let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    (operation, if is_name { name } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_names_operation_and_table_and_no_value() {
        for (sql, operation, table) in [
            ("SELECT id FROM targets WHERE id = $1", "SELECT", "targets"),
            ("INSERT INTO targets(url)\n SELECT $1", "INSERT", "targets"),
            (
                "  update public.targets SET url = $1",
                "UPDATE",
                "public.targets",
            ),
            ("DELETE FROM targets WHERE id = $1", "DELETE", "targets"),
            ("SELECT count(*) FROM (SELECT 1)", "SELECT", ""),
            ("SELECT 1", "SELECT", ""),
            ("BEGIN IMMEDIATE", "BEGIN", ""),
            ("", "OTHER", ""),
            ("-- canary\nSELECT 1", "OTHER", ""),
            ("SELECT 'x FROM canary'", "SELECT", ""),
            (
                "SELECT id FROM targets WHERE url = 'canary'",
                "SELECT",
                "targets",
            ),
            ("SELECT \"a FROM canary\" FROM b", "SELECT", ""),
            ("SELECT $$ FROM canary $$", "SELECT", ""),
            ("SELECT 1 /* FROM canary */", "SELECT", ""),
            ("SELECT 1 FROM 17", "SELECT", ""),
        ] {
            assert_eq!(
                operation_and_table(sql),
                (operation.to_owned(), table),
                "{sql}"
            );
        }
    }
}
