//! Checks the SQL of a service against its schema: a typo, or a column that a migration has renamed,
//! fails a test instead of a request in production.
//!
//! It finds the statements that the sources give to sqlx, and lets the database prepare each. That runs no
//! statement, and needs neither data nor a database at compile time.

mod source;

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};
use tokio::runtime::Builder;

use super::{Scratch, TestEngine, database_settings};
use crate::Database;
use crate::database::Engine;
use source::{Call, calls};

/// Prepares every SQL statement of the sources in `place`, a directory or a file such as `"src"`, on a
/// new database with these migrations.
///
/// A statement is a string literal in a call of one of sqlx's functions, such as `query_as`.
///
/// # Panics
///
/// When the database refuses a statement, when a statement is not a literal, and when there is none.
/// In async code: it has a runtime of its own.
pub fn check_statements<E: TestEngine>(migrations: &[&Migrator], place: impl AsRef<Path>) {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let scratch = Scratch::<E>::new();
        let database = Database::<E>::new(&database_settings(scratch.url()), migrations);
        let database = database.expect("a database for the test");
        database.connect().await.expect("a connection");
        database.migrate().await.expect("migrations that apply");
        check_statements_on(&database, place).await;
    });
}

/// The same, on a database that has been migrated.
async fn check_statements_on<E: Engine>(database: &Database<E>, place: impl AsRef<Path>) {
    let place = place.as_ref();
    let mut checked = 0;
    let mut problems = Vec::new();
    for file in files(place) {
        let source = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let calls = calls(&source);
        checked += calls.len();
        problems.extend(problems_of(database, &file.display().to_string(), &calls).await);
    }
    assert!(
        checked > 0,
        "no statement was found in {}: a service that queries no database has no use for this check, \
         and statements that do not go through sqlx's functions are not checked",
        place.display()
    );
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// The problems of these statements, each with its location.
async fn problems_of<E: Engine>(database: &Database<E>, file: &str, calls: &[Call]) -> Vec<String> {
    let mut problems = Vec::new();
    for Call { line, statement } in calls {
        let Some(statement) = statement else {
            problems.push(format!(
                "{file}:{line}: the statement is not a string literal, so it cannot be checked: \
                 write it out where it is used, or build it with a sqlx::QueryBuilder and test the \
                 result"
            ));
            continue;
        };
        let sql = AssertSqlSafe(statement.as_str()).into_sql_str();
        if let Err(error) = database.write().prepare(sql).await {
            problems.push(format!("{file}:{line}: {error}\n    {statement}"));
        }
    }
    problems
}

/// Every source below a directory, or the file itself.
fn files(place: &Path) -> Vec<PathBuf> {
    if !place.is_dir() {
        return vec![place.to_owned()];
    }
    let entries = fs::read_dir(place)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", place.display()));
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry of a directory").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The tests, on SQLite.
#[cfg(all(test, feature = "sqlite"))]
#[path = "statements"]
mod on_sqlite {
    /// The engine of the suite.
    type E = sqlx::Sqlite;

    mod tests;
}

/// The same suite on Postgres.
#[cfg(all(test, feature = "postgres"))]
#[path = "statements"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
mod on_postgres {
    /// The engine of the suite.
    type E = sqlx::Postgres;

    mod tests;
}
