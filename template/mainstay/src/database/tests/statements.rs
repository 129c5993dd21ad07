//! Every statement of the service fits the schema: a typo, or a column that a migration has renamed,
//! fails here and not in production.
//!
//! The sources are searched for what is given to sqlx, and the database is asked to prepare each. That
//! runs nothing, needs no data, and no macro that wants a database while it compiles.

mod source;

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use super::*;
use source::{Call, calls};

/// Where the service is, and what the frame asks a table of its own.
const SOURCES: [&str; 2] = ["src/service", "src/frame/idempotency/keys.rs"];

#[tokio::test]
async fn every_statement_of_the_service_fits_the_schema() {
    let migrated = Migrated::new().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut problems = Vec::new();
    for sources in SOURCES {
        let mut checked = 0;
        for file in files(&root.join(sources)) {
            let source = fs::read_to_string(&file).unwrap();
            let name = file.strip_prefix(root).unwrap().display().to_string();
            for call in calls(&source) {
                checked += 1;
                problems.extend(migrated.problem(&name, &call).await);
            }
        }
        assert!(
            checked > 0,
            "no statement was found in {sources}: a service that asks its database nothing has no use \
             for this test, and one that asks by other ways than sqlx's functions is not tested by it"
        );
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[tokio::test]
async fn a_typo_in_a_statement_is_told_with_its_place_and_the_words_of_the_database() {
    let source = r#"
        async fn count(database: &Database) -> Result<i64, sqlx::Error> {
            sqlx::query_scalar("SELECT count(verzion) FROM _sqlx_migrations")
                .fetch_one(database.read())
                .await
        }
    "#;
    let told = Migrated::new().await.problems(source).await;
    assert_eq!(told.len(), 1, "{told:?}");
    for part in ["x.rs:3", "SELECT count(verzion) FROM", "column"] {
        assert!(told[0].contains(part), "{part} is not in {}", told[0]);
    }
    let right = source.replace("verzion", "version");
    let told = Migrated::new().await.problems(&right).await;
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn a_statement_that_cannot_be_read_in_the_source_is_told_with_its_cure() {
    let source = "\nlet query = sqlx::query(AssertSqlSafe(statement));";
    let told = Migrated::new().await.problems(source).await;
    assert_eq!(told.len(), 1, "{told:?}");
    for part in ["x.rs:2", "literal", "QueryBuilder"] {
        assert!(told[0].contains(part), "{part} is not in {}", told[0]);
    }
}

/// A database with the schema of the service, and nothing in it.
struct Migrated {
    database: Database,
    _scratch: Scratch,
}

impl Migrated {
    async fn new() -> Self {
        let scratch = Scratch::new();
        let database = Database::new(&settings(scratch.url())).unwrap();
        database.migrate().await.unwrap();
        Self {
            database,
            _scratch: scratch,
        }
    }

    /// What is wrong with the statements of a source.
    async fn problems(&self, source: &str) -> Vec<String> {
        let mut problems = Vec::new();
        for call in calls(source) {
            problems.extend(self.problem("x.rs", &call).await);
        }
        problems
    }

    async fn problem(&self, file: &str, Call { line, statement }: &Call) -> Option<String> {
        let Some(statement) = statement else {
            return Some(format!(
                "{file}:{line}: the statement is not a string literal, so that nobody can check it: \
                 write it out where it is used, or let a sqlx::QueryBuilder put it together and test \
                 what comes of it"
            ));
        };
        // The schema was made by the very migrations that production has.
        let sql = AssertSqlSafe(statement.as_str()).into_sql_str();
        let error = self.database.write().prepare(sql).await.err()?;
        Some(format!("{file}:{line}: {error}\n    {statement}"))
    }
}

/// Every source below a directory, or the one that this is.
fn files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(place).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
