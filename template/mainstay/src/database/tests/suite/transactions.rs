//! Transactions: what is committed, and what is rolled back.

use super::*;

#[tokio::test]
async fn transaction_is_atomic() {
    let fixture = Fixture::new().await;
    for (name, commits) in [("kept", true), ("undone", false)] {
        let mut transaction = fixture.database.begin().await.unwrap();
        let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2)");
        let query = query.bind(10 + i32::from(commits)).bind(name);
        query.execute(&mut *transaction).await.unwrap();
        if commits {
            transaction.commit().await.unwrap();
        }
    }
    // The connection is in the pool only after its clean-up.
    fixture.rest().await;
    fixture.add("next").await.unwrap();
    let query = sqlx::query_scalar("SELECT name FROM things ORDER BY name");
    let names: Vec<String> = query.fetch_all(fixture.database.read()).await.unwrap();
    assert_eq!(names, ["kept", "next"]);
    assert_eq!(fixture.numbers().size, 1, "the connection was reused");
}

#[tokio::test]
async fn transaction_never_commits_after_a_failed_statement() {
    let fixture = Fixture::new().await;
    fixture.add("first").await.unwrap();
    let mut transaction = fixture.database.begin().await.unwrap();
    let fine = sqlx::query("INSERT INTO things (id, name) VALUES (7, 'second')");
    fine.execute(&mut *transaction).await.unwrap();
    let twice = sqlx::query("INSERT INTO things (id, name) VALUES (8, 'first')");
    twice.execute(&mut *transaction).await.unwrap_err();

    let refused = transaction.commit().await.unwrap_err();

    assert!(refused.to_string().contains("failed"), "{refused}");
    fixture.rest().await;
    assert_eq!(fixture.count().await, 1);
}

#[tokio::test]
async fn transaction_refuses_statements_after_a_failed_one() {
    let fixture = Fixture::new().await;
    fixture.add("first").await.unwrap();
    let mut transaction = fixture.database.begin().await.unwrap();
    let twice = sqlx::query("INSERT INTO things (id, name) VALUES (8, 'first')");
    twice.execute(&mut *transaction).await.unwrap_err();
    let next = sqlx::query("INSERT INTO things (id, name) VALUES (9, 'next')");
    next.execute(&mut *transaction).await.unwrap_err();
    drop(transaction);
    fixture.rest().await;
    assert_eq!(fixture.count().await, 1);
}

#[tokio::test]
async fn rollback_to_savepoint_undoes_a_failed_statement() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.database.begin().await.unwrap();
    for (number, name) in ["before", "after", "before", "last"]
        .into_iter()
        .enumerate()
    {
        let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2)");
        let query = query.bind(i32::try_from(number).unwrap()).bind(name);
        let done = query.execute(&mut *transaction).await;
        assert_eq!(done.is_err(), number == 2, "{done:?}");
        match number {
            0 => transaction.set_savepoint().await.unwrap(),
            2 => transaction.rollback_to_savepoint().await.unwrap(),
            _ => {}
        }
    }
    transaction.commit().await.unwrap();
    let query = sqlx::query_scalar("SELECT name FROM things ORDER BY name");
    let names: Vec<String> = query.fetch_all(fixture.database.read()).await.unwrap();
    assert_eq!(names, ["before", "last"]);
    assert_eq!(fixture.numbers().size, 1, "the connection was reused");
}

#[tokio::test]
async fn rollback_without_a_savepoint_commits_nothing() {
    let fixture = Fixture::new().await;
    let mut transaction = fixture.database.begin().await.unwrap();
    for is_first in [true, false] {
        let query = sqlx::query("INSERT INTO things (id, name) VALUES (1, 'first')");
        let done = query.execute(&mut *transaction).await;
        assert_eq!(done.is_ok(), is_first, "{done:?}");
    }
    transaction.rollback_to_savepoint().await.unwrap_err();
    transaction.commit().await.unwrap_err();
    fixture.rest().await;
    assert_eq!(fixture.count().await, 0);
}

#[tokio::test]
async fn rollback_returns_the_connection_at_once() {
    let fixture = Fixture::new().await;
    for statements in [1, 2] {
        let mut transaction = fixture.database.begin().await.unwrap();
        for _ in 0..statements {
            let query = sqlx::query("INSERT INTO things (id, name) VALUES (1, 'first')");
            _ = query.execute(&mut *transaction).await;
        }
        transaction.rollback().await;
        let numbers = fixture.numbers();
        assert_eq!((numbers.size, numbers.idle, numbers.in_use), (1, 1, 0));
        assert_eq!(fixture.count().await, 0);
    }
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
    _ = fixture.add("second").await;
    fixture.rest().await;
    let query = sqlx::query("INSERT INTO things (id, name) VALUES (20, 'third')");
    query.execute(fixture.database.write()).await.unwrap();
    let third = sqlx::query("SELECT 1 FROM things WHERE name = 'next'");
    assert!(
        third
            .fetch_optional(fixture.database.read())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn returned_row_is_committed() {
    let fixture = Fixture::new().await;
    // The foreign key is checked at the commit, after the row was returned.
    let table = "CREATE TABLE parts (
        id INTEGER PRIMARY KEY,
        thing INTEGER NOT NULL REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED
    )";
    let made = sqlx::query(table).execute(fixture.database.write()).await;
    made.unwrap();
    let orphan = sqlx::query("INSERT INTO parts (id, thing) VALUES (1, 77) RETURNING id");
    let returned = orphan.fetch_optional(fixture.database.write()).await;
    assert!(returned.is_err(), "a row that is not there");
    let parts: i64 = sqlx::query_scalar("SELECT count(*) FROM parts")
        .fetch_one(fixture.database.read())
        .await
        .unwrap();
    assert_eq!(parts, 0);
}

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
    assert_eq!(
        fixture.count().await,
        20,
        "other connections see every write"
    );
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
                let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM things")
                    .fetch_one(&mut *transaction)
                    .await?;
                assert!(seen >= 0);
                let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, $2)");
                let query = query
                    .bind(writer * 100 + number)
                    .bind(format!("{writer} {number}"));
                query.execute(&mut *transaction).await?;
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

#[tokio::test]
async fn claim_ends_with_its_transaction() {
    let fixture = Fixture::new().await;
    for commits in [true, false] {
        let mut transaction = fixture.database.begin().await.unwrap();
        assert!(transaction.try_claim("one").await.unwrap());
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await;
        }
    }
    let mut transaction = fixture.database.begin().await.unwrap();
    assert!(transaction.try_claim("one").await.unwrap());
}
