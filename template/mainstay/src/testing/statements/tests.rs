//! Statements that fit a schema, and those that do not.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};
use tempfile::TempDir;

use super::E;
use crate::Database;
use crate::testing::statements::{calls, check_statements_on, problems_of};
use crate::testing::{Scratch, database_settings};

/// A database with a schema, and nothing in it.
struct Migrated {
    database: Database<E>,
    _scratch: Scratch<E>,
}

impl Migrated {
    async fn new(migrations: &Migrator) -> Self {
        let scratch = Scratch::new();
        let database = Database::new(&database_settings(scratch.url()), &[migrations]).unwrap();
        database.connect().await.unwrap();
        database.migrate().await.unwrap();
        Self {
            database,
            _scratch: scratch,
        }
    }

    async fn with_things() -> Self {
        let sql = AssertSqlSafe("CREATE TABLE things (id INTEGER PRIMARY KEY)").into_sql_str();
        let table = Migration::new(1, "things".into(), MigrationType::Simple, sql, false);
        Self::new(&Migrator::with_migrations(vec![table])).await
    }

    /// The problems of the statements of a source.
    async fn problems(&self, source: &str) -> Vec<String> {
        problems_of(&self.database, "x.rs", &calls(source)).await
    }
}

#[cfg(feature = "idempotency")]
#[tokio::test]
async fn every_statement_about_idempotency_fits_its_table() {
    let migrated = Migrated::new(crate::idempotency::migrations::<E>()).await;
    check_statements_on(&migrated.database, "src/idempotency/keys.rs").await;
}

#[tokio::test]
async fn a_typo_is_reported_with_its_line_and_the_error() {
    let source = r#"
        async fn count(database: &Database) -> Result<i64, sqlx::Error> {
            sqlx::query_scalar("SELECT count(idd) FROM things")
                .fetch_one(database.read())
                .await
        }
    "#;
    let migrated = Migrated::with_things().await;
    let problems = migrated.problems(source).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    for part in ["x.rs:3", "SELECT count(idd) FROM", "column"] {
        assert!(
            problems[0].contains(part),
            "{part} is not in {}",
            problems[0]
        );
    }
    let right = source.replace("idd", "id");
    let problems = migrated.problems(&right).await;
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test]
async fn a_statement_that_is_no_literal_is_reported() {
    let source = "\nlet query = sqlx::query(AssertSqlSafe(statement));";
    let problems = Migrated::with_things().await.problems(source).await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    for part in ["x.rs:2", "literal", "QueryBuilder"] {
        assert!(
            problems[0].contains(part),
            "{part} is not in {}",
            problems[0]
        );
    }
}

/// A tree of sources with this in one of its files.
fn tree(source: &str) -> TempDir {
    let tree = TempDir::new().unwrap();
    let below = tree.path().join("below");
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("a.rs"), source).unwrap();
    std::fs::write(below.join("a.txt"), r#"sqlx::query("nonsense")"#).unwrap();
    tree
}

#[tokio::test]
async fn a_tree_of_sources_is_searched() {
    let tree = tree(r#"sqlx::query("SELECT id FROM things")"#);
    let migrated = Migrated::with_things().await;
    check_statements_on(&migrated.database, tree.path()).await;
}

#[tokio::test]
#[should_panic(expected = "below/a.rs:1: ")]
async fn a_wrong_statement_in_a_tree_panics() {
    let tree = tree(r#"sqlx::query("SELECT idd FROM things")"#);
    let migrated = Migrated::with_things().await;
    check_statements_on(&migrated.database, tree.path()).await;
}

#[tokio::test]
#[should_panic(expected = "no statement was found")]
async fn sources_without_statements_panic() {
    let tree = tree("fn nothing() {}");
    let migrated = Migrated::with_things().await;
    check_statements_on(&migrated.database, tree.path()).await;
}
