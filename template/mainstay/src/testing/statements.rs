//! Checks the SQL of a service against its schema: a typo, or a column that a migration has renamed,
//! fails a test instead of a request in production.
//!
//! The database prepares each statement. That runs none, and needs neither data nor a database at compile time.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr};

use super::{TestEngine, database_settings};
use crate::Database;

/// Prepares every SQL statement of the sources in `place`, a directory or a file such as `"src"`, on a
/// new database with these migrations.
///
/// A statement is a string literal in a call such as `sqlx::query_as("SELECT …")`, with this path. A literal with a
/// quote or an escape is a raw one. Panics in async code: it has a runtime of its own.
#[tokio::main(flavor = "current_thread")]
pub async fn check_statements<E: TestEngine>(migrations: &[&Migrator], place: impl AsRef<Path>) {
    let scratch = E::scratch();
    let database = Database::<E>::new(&database_settings(&scratch.url), migrations);
    let database = database.expect("a database for the test");
    database.connect().await.expect("a database");
    database.migrate().await.expect("migrations that apply");
    let connection = E::Connection::connect(&scratch.url).await;
    let mut connection = connection.expect("a connection");

    let (mut checked, mut problems) = (0, Vec::new());
    for file in files(place.as_ref()) {
        let source = fs::read_to_string(&file).expect("a source");
        for (line, statement) in statements(&source) {
            checked += 1;
            let problem = if let Some(text) = statement {
                let sql = AssertSqlSafe(text.as_str()).into_sql_str();
                let prepared = E::executor(&mut connection).prepare(sql).await;
                prepared.err().map(|error| format!("{error}\n    {text}"))
            } else {
                Some("not a string literal: write it out, or test what a QueryBuilder makes".into())
            };
            let place = file.display();
            problems.extend(problem.map(|problem| format!("{place}:{line}: {problem}")));
        }
    }
    let place = place.as_ref().display();
    assert!(checked > 0, "no statement was found in {place}");
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

fn files(place: &Path) -> Vec<PathBuf> {
    if !place.is_dir() {
        return vec![place.to_owned()];
    }
    let entries = fs::read_dir(place).expect("a directory");
    let mut paths: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
    paths.retain(|path| path.is_dir() || path.extension().is_some_and(|it| it == "rs"));
    paths.iter().flat_map(|path| files(path)).collect()
}

/// The statements in the calls of sqlx's functions, each with its line; `None` for one that is not a literal.
fn statements(source: &str) -> impl Iterator<Item = (usize, Option<String>)> {
    let calls = source.match_indices("sqlx::query");
    calls.filter_map(|(at, name)| {
        let (before, after) = (&source[..at], &source[at + name.len()..]);
        let line = before.rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("//") {
            return None;
        }
        // The rest of the name, and its types.
        let after = after.trim_start_matches(|it: char| it.is_ascii_lowercase() || it == '_');
        let arguments = match after.strip_prefix("::<") {
            Some(types) => types.split_once(">(")?.1,
            None => after.strip_prefix('(')?,
        };
        let line = before.matches('\n').count() + 1;
        Some((line, literal(arguments.trim_start())))
    })
}

/// The value of the string literal at the beginning of a source.
fn literal(source: &str) -> Option<String> {
    let (prefix, text) = source.split_once('"')?;
    // `r##` of a raw literal.
    let hashes = prefix.strip_prefix('r').unwrap_or(prefix);
    let is_literal = hashes.chars().all(|it| it == '#');
    let (text, _) = text.split_once(&format!("\"{hashes}"))?;
    is_literal.then(|| text.replace("\\\n", "\n"))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
