use super::*;

fn found(source: &str) -> Vec<(usize, Option<String>)> {
    let calls = calls(source).into_iter();
    calls.map(|call| (call.line, call.statement)).collect()
}

fn one(line: usize, statement: &str) -> Vec<(usize, Option<String>)> {
    vec![(line, Some(statement.to_owned()))]
}

#[test]
fn statements_are_found_however_they_are_written() {
    for (source, statement) in [
        (r#"sqlx::query("SELECT 1")"#, "SELECT 1"),
        (r#"query_as("SELECT 1")"#, "SELECT 1"),
        (r#"raw_sql("SELECT 1",)"#, "SELECT 1"),
        (
            r#"sqlx::query_as::<Sqlite, (i64, Option<A>)>("SELECT 1")"#,
            "SELECT 1",
        ),
        (r#"query_with("SELECT 1", arguments)"#, "SELECT 1"),
        (r#"lease.execute("SELECT 1")"#, "SELECT 1"),
        (r#"query(r"SELECT '\n'")"#, r"SELECT '\n'"),
        (r###"query(r##"SELECT "a"#, 1"##)"###, r##"SELECT "a"#, 1"##),
        (r#"query("SELECT \"a\" \\")"#, r#"SELECT "a" \"#),
        ("query(\"SELECT 1 \\\n    + 1\")", "SELECT 1 + 1"),
        ("query(\"SELECT 1\n+ 1\")", "SELECT 1\n+ 1"),
        (
            r#"query( /* why */ "SELECT 1" // because
               )"#,
            "SELECT 1",
        ),
    ] {
        assert_eq!(found(source), one(1, statement), "{source}");
    }
}

#[test]
fn call_has_its_line() {
    let source = "/* one\n /* two */\n*/ let text = \"\\\n\";\n\nsqlx::query(\n\"SELECT 1\")";
    assert_eq!(found(source), one(6, "SELECT 1"));
}

#[test]
fn similar_code_is_not_a_call() {
    for source in [
        r#"// sqlx::query("SELECT 1")"#,
        r#"/* /* */ sqlx::query("SELECT 1") */"#,
        r###"let text = r##"sqlx::query("SELECT 1")"##;"###,
        r#"let text = "sqlx::query(\"SELECT 1\")";"#,
        r#"use sqlx::query; let text = ("SELECT 1");"#,
        r"fn query(text: &str) {}",
        r#"url.query("SELECT 1")"#,
        r#"Url::query("SELECT 1")"#,
        r#"sqlx::query!("SELECT 1")"#,
        r"query.fetch_one(database.read())",
        r#"my_query("SELECT 1")"#,
    ] {
        assert_eq!(found(source), [], "{source}");
    }
}

#[test]
fn statement_that_is_no_literal_is_found() {
    for source in [
        "sqlx::query(STATEMENT)",
        "sqlx::query(&statement)",
        r#"sqlx::query(concat!("SELECT ", "1"))"#,
        r#"sqlx::query(AssertSqlSafe(format!("SELECT {n}")))"#,
    ] {
        assert_eq!(found(source), [(1, None)], "{source}");
    }
}
