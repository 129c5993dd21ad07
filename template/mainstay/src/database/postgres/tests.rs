//! The tests of Postgres alone.

use sqlx::Postgres;

use crate::database::tests::on_postgres::suite::Fixture;
use crate::database::{Database, ErrorKind, log_safe_message};

/// A setting of the session.
async fn shown(database: &Database<Postgres>, what: &'static str) -> String {
    let query = sqlx::query_scalar("SELECT current_setting($1)").bind(what);
    query.fetch_one(database.read()).await.unwrap()
}

#[tokio::test]
async fn connection_has_limits_and_application_name() {
    let fixture = Fixture::new().await;
    for (what, value) in [
        ("application_name", env!("CARGO_PKG_NAME")),
        ("statement_timeout", "5s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "10s"),
        ("client_connection_check_interval", "2s"),
    ] {
        assert_eq!(shown(&fixture.database, what).await, value, "{what}");
    }
}

#[tokio::test]
async fn read_only_connection_is_discarded() {
    let fixture = Fixture::new().await;
    let read_only = sqlx::query("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY");
    read_only.execute(fixture.database.write()).await.unwrap();

    let error = fixture.add("first").await.unwrap_err();

    assert_eq!(ErrorKind::of(&error), ErrorKind::Unavailable, "{error}");
    fixture.add("second").await.unwrap();
}

#[tokio::test]
async fn value_of_the_wrong_type_is_invalid_and_not_logged() {
    let fixture = Fixture::new().await;
    for (statement, code) in [
        ("SELECT $1::uuid", "22P02"),
        ("SELECT $1::integer", "22P02"),
        ("SELECT $1::jsonb", "22P02"),
        ("SELECT $1::timestamptz", "22007"),
        ("SELECT to_date($1, 'YYYY')", "22007"),
    ] {
        let query = sqlx::query(statement).bind("canary");
        let error = query.execute(fixture.database.read()).await.unwrap_err();
        assert_eq!(ErrorKind::of(&error), ErrorKind::Invalid(None), "{error}");
        let words = log_safe_message(&error);
        assert!(!words.contains("canary"), "{words}");
        for part in [code, "routine"] {
            assert!(words.contains(part), "{part} is not in {words}");
        }
    }
}
