//! Transactions: what is committed, and what is rolled back.

use super::*;

#[tokio::test]
async fn cancelled_begin_leaves_no_transaction_open() {
    let fixture = Fixture::new().await;
    for number in 0..200_u64 {
        let patience = Duration::from_micros(number * 7 % 400);
        let begun = timeout(patience, fixture.database.begin()).await;
        drop(begun);
        if number % 10 == 0 {
            fixture.add(&number.to_string()).await.unwrap();
        }
    }
    fixture.rest().await;
    // Other connections see every write.
    assert_eq!(fixture.count().await, 20);
}

#[tokio::test]
async fn transaction_is_atomic() {
    let fixture = Fixture::new().await;
    for (id, name, commits) in [(10, "kept", true), (11, "undone", false)] {
        let mut transaction = fixture.database.begin().await.unwrap();
        insert(&mut *transaction, id, name).await.unwrap();
        if commits {
            transaction.commit().await.unwrap();
        }
    }
    // The connection is in the pool only after its clean-up.
    fixture.rest().await;
    fixture.add("next").await.unwrap();
    assert_eq!(fixture.names().await, ["kept", "next"]);
    assert_eq!(fixture.numbers().size, 1, "the connection was reused");
}

#[tokio::test]
async fn transaction_never_commits_after_a_failed_statement() {
    let fixture = Fixture::new().await;
    fixture.add("first").await.unwrap();
    let mut transaction = fixture.database.begin().await.unwrap();
    insert(&mut *transaction, 7, "second").await.unwrap();
    insert(&mut *transaction, 8, "first").await.unwrap_err();
    insert(&mut *transaction, 9, "next").await.unwrap_err();

    let refused = transaction.commit().await.unwrap_err();

    assert!(refused.to_string().contains("failed"), "{refused}");
    fixture.rest().await;
    assert_eq!(fixture.names().await, ["first"]);
}

#[tokio::test]
async fn rollback_returns_the_connection() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.database.begin().await.unwrap();
    insert(&mut *transaction, 0, "first").await.unwrap();
    insert(&mut *transaction, 1, "first").await.unwrap_err();
    transaction.rollback().await;
    // It waited for the rollback.
    let numbers = fixture.numbers();
    assert_eq!((numbers.size, numbers.in_use), (1, 0));
}

#[tokio::test]
async fn failed_script_with_its_own_begin_is_rolled_back() {
    let fixture = Fixture::with(|settings| settings.max_connections = 1).await;
    fixture.add("first").await.unwrap();
    let several = sqlx::raw_sql(
        "BEGIN; INSERT INTO things (id, name) VALUES (8, 'next');
         INSERT INTO things (id, name) VALUES (9, 'first'); COMMIT",
    );
    several.execute(fixture.database.write()).await.unwrap_err();
    fixture.rest().await;
    // The next statement may fail, and the one after it must not.
    _ = insert(fixture.database.write(), 10, "second").await;
    fixture.rest().await;
    insert(fixture.database.write(), 20, "third").await.unwrap();
    assert!(!fixture.names().await.contains(&"next".to_owned()));
}

#[tokio::test]
async fn returned_row_is_committed() {
    let fixture = Fixture::new().await;
    let write = || fixture.database.write();
    // The foreign key is checked at the commit, after the row was returned.
    let table = "CREATE TABLE parts (
        id INTEGER PRIMARY KEY,
        thing INTEGER NOT NULL REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED
    )";
    sqlx::query(table).execute(write()).await.unwrap();
    let orphan = sqlx::query("INSERT INTO parts (id, thing) VALUES (1, 77) RETURNING id");
    let returned = orphan.fetch_optional(write()).await;
    assert!(returned.is_err(), "a row that is not there");
    let parts = sqlx::query("SELECT id FROM parts");
    let parts = parts.fetch_all(fixture.database.read()).await.unwrap();
    assert!(parts.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_take_turns_and_none_fails() {
    let fixture = Fixture::with(|settings| settings.acquire_timeout = PATIENCE).await;
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let database = fixture.database.clone();
        writers.spawn(async move {
            for number in 0..20 {
                let mut transaction = database.begin().await?;
                let seen = sqlx::query("SELECT count(*) FROM things");
                seen.fetch_one(&mut *transaction).await?;
                let name = format!("{writer} {number}");
                insert(&mut *transaction, writer * 100 + number, &name).await?;
                transaction.commit().await?;
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    for written in writers.join_all().await {
        written.unwrap();
    }
    assert_eq!(fixture.count().await, 320);
}
