//! Checks the SQL of a service against its schema: a typo, or a column that a migration has renamed,
//! fails a test instead of a request in production.
//!
//! It finds the statements that the sources give to sqlx, and lets the database prepare each. That runs no
//! statement, and needs neither data nor a database at compile time.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection, Executor, SqlSafeStr};
use tokio::runtime::Builder;

use super::{Scratch, TestEngine, database_settings};
use crate::Database;

/// Prepares every SQL statement of the sources in `place`, a directory or a file such as `"src"`, on a
/// new database with these migrations.
///
/// A statement is a string literal in a call such as `sqlx::query_as("SELECT …")`, with this path.
///
/// # Panics
///
/// When the database refuses a statement, when a statement is not a literal, and when there is none.
/// In async code: it has a runtime of its own.
pub fn check_statements<E: TestEngine>(migrations: &[&Migrator], place: impl AsRef<Path>) {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime
        .expect("a runtime")
        .block_on(check::<E>(migrations, place.as_ref()));
}

async fn check<E: TestEngine>(migrations: &[&Migrator], place: &Path) {
    let scratch = Scratch::<E>::new();
    let database = Database::<E>::new(&database_settings(scratch.url()), migrations);
    let database = database.expect("a database for the test");
    database.connect().await.expect("a database");
    database.migrate().await.expect("migrations that apply");
    let connection = E::Connection::connect(scratch.url()).await;
    let mut connection = connection.expect("a connection");

    let (mut checked, mut problems) = (0, Vec::new());
    for file in files(place) {
        let source = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        for (line, statement) in statements(&source) {
            checked += 1;
            let problem = if let Some(text) = statement {
                let sql = AssertSqlSafe(text.as_str()).into_sql_str();
                match E::executor(&mut connection).prepare(sql).await {
                    Ok(_) => continue,
                    Err(error) => format!("{error}\n    {text}"),
                }
            } else {
                "the statement is not a string literal, so it cannot be checked: write it out where it is used, \
                 or build it with a sqlx::QueryBuilder and test the result"
                    .to_owned()
            };
            problems.push(format!("{}:{line}: {problem}", file.display()));
        }
    }
    assert!(
        checked > 0,
        "no statement was found in {}: a service that queries no database has no use for this check",
        place.display()
    );
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Every source below a directory, or the file itself.
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
    source
        .match_indices("sqlx::query")
        .filter_map(|(at, name)| {
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
    if let Some(raw) = source.strip_prefix('r') {
        let text = raw.trim_start_matches('#');
        let end = format!("\"{}", &raw[..raw.len() - text.len()]);
        let (text, _) = text.strip_prefix('"')?.split_once(&end)?;
        return Some(text.to_owned());
    }
    let mut characters = source.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => match characters.next()? {
                'n' => text.push('\n'),
                // A quote, or the end of a line: SQL takes more space than Rust would leave.
                escaped => text.push(escaped),
            },
            other => text.push(other),
        }
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests;
