//! Statements that fit a schema, and those that do not.

use std::panic::catch_unwind;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use tempfile::TempDir;

use super::*;

/// Checks a tree of sources with this in one of its files, and returns why it fails.
fn failure(source: &str) -> Option<String> {
    let tree = TempDir::new().unwrap();
    let below = tree.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("a.rs"), source).unwrap();
    fs::write(below.join("a.txt"), r#"sqlx::query("nonsense")"#).unwrap();
    let sql = AssertSqlSafe("CREATE TABLE things (id INTEGER PRIMARY KEY)").into_sql_str();
    let table = Migration::new(1, "things".into(), MigrationType::Simple, sql, false);
    let migrations = Migrator::with_migrations(vec![table]);
    let checked = catch_unwind(|| check_statements::<sqlx::Sqlite>(&[&migrations], tree.path()));
    checked
        .err()
        .map(|panic| panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn a_typo_is_reported_with_its_line_and_the_error() {
    let source = r#"
        async fn count(database: &Database) -> Result<i64, sqlx::Error> {
            sqlx::query_scalar("SELECT count(idd) FROM things")
                .fetch_one(database.read())
                .await
        }
    "#;
    let failed = failure(source).unwrap();
    for part in ["below/a.rs:3: ", "SELECT count(idd) FROM", "column"] {
        assert!(failed.contains(part), "{part} is not in {failed}");
    }
    assert_eq!(failure(&source.replace("idd", "id")), None);
}

#[test]
fn a_statement_that_is_no_literal_is_reported() {
    let failed = failure("\nlet query = sqlx::query(AssertSqlSafe(statement));").unwrap();
    for part in ["a.rs:2: ", "literal", "QueryBuilder"] {
        assert!(failed.contains(part), "{part} is not in {failed}");
    }
}

#[test]
fn sources_without_statements_fail() {
    let failed = failure("fn nothing() {}").unwrap();
    assert!(failed.starts_with("no statement was found"), "{failed}");
}

#[test]
fn statements_are_found_however_they_are_written() {
    for (source, statement) in [
        (r#"sqlx::query("SELECT 1")"#, Some("SELECT 1")),
        (
            r#"sqlx::query_as::<Sqlite, (i64, Option<A>)>("SELECT 1")"#,
            Some("SELECT 1"),
        ),
        (
            r#"sqlx::query_with( "SELECT 1", arguments)"#,
            Some("SELECT 1"),
        ),
        (r#"sqlx::query(r"SELECT '\n'")"#, Some(r"SELECT '\n'")),
        (
            r###"sqlx::query(r##"SELECT "a"#, 1"##)"###,
            Some(r##"SELECT "a"#, 1"##),
        ),
        (
            "sqlx::query(\n\"SELECT 1 \\\n+ 1\")",
            Some("SELECT 1 \n+ 1"),
        ),
        ("sqlx::query(STATEMENT)", None),
        ("sqlx::query(rows)", None),
        (r#"sqlx::query(concat!("SELECT ", "1"))"#, None),
    ] {
        let found: Vec<_> = statements(source).collect();
        assert_eq!(found, [(1, statement.map(str::to_owned))], "{source}");
    }
    for source in [
        r#"// sqlx::query("SELECT 1")"#,
        r#"use sqlx::query; let text = ("SELECT 1");"#,
        r#"sqlx::query!("SELECT 1")"#,
        r#"url.query("SELECT 1")"#,
    ] {
        assert_eq!(statements(source).count(), 0, "{source}");
    }
}
