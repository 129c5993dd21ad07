//! The tests of SQLite alone.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::*;
use crate::database::log_safe_message;
use crate::database::tests::on_sqlite::suite::Fixture;

fn path(fixture: &Fixture) -> PathBuf {
    Sqlite::file(&fixture.scratch.url).unwrap()
}

#[tokio::test]
async fn read_connection_refuses_to_write() {
    let fixture = Fixture::new().await;
    let write = sqlx::query("INSERT INTO things (id, name) VALUES (1, 'first')");
    let error = write.execute(fixture.database.read()).await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    assert_eq!(fixture.count().await, 0);
}

#[tokio::test]
async fn value_of_the_wrong_type_is_invalid() {
    let fixture = Fixture::new().await;
    let query = sqlx::query("INSERT INTO things (id, name) VALUES ($1, 'first')");
    let failed = query.bind("canary").execute(fixture.database.write());
    let error = failed.await.unwrap_err();
    assert_eq!(ErrorKind::of(&error), ErrorKind::Invalid(None));
    let words = log_safe_message(&error);
    assert_eq!(words, "the database rejected the statement: 20 (value)");
}

#[tokio::test]
async fn bundled_sqlite_has_no_wal_reset_bug() {
    // Before 3.51.3, SQLite could lose commits.
    let fixture = Fixture::new().await;
    let query = sqlx::query_scalar("SELECT sqlite_version()");
    let version: String = query.fetch_one(fixture.database.read()).await.unwrap();
    let parts = version.split('.').map(|part| part.parse().unwrap());
    assert!(parts.collect::<Vec<u32>>() >= vec![3, 51, 3], "{version}");
}

#[tokio::test]
async fn removed_file_is_reported_and_not_replaced() {
    let fixture = Fixture::new().await;
    fs::remove_file(path(&fixture)).unwrap();
    // The first read: it opens a new connection.
    let error = fixture.database.ping().await.unwrap_err();
    assert!(error.to_string().contains("removed"), "{error}");
    let read = sqlx::query("SELECT 1").execute(fixture.database.read());
    let error = read.await.unwrap_err().to_string();
    assert!(error.contains("unable to open"), "{error}");
    assert!(!path(&fixture).exists());
}

#[tokio::test]
async fn ping_notices_a_damaged_removed_or_replaced_file() {
    for what in ["damaged", "emptied", "removed", "replaced"] {
        let fixture = Fixture::new().await;
        let (database, path) = (&fixture.database, path(&fixture));
        // All of it is in the file, and some of it remembered.
        let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
        checkpoint.execute(database.write()).await.unwrap();
        assert_eq!(fixture.count().await, 0);
        for _ in 0..2 {
            database.ping().await.unwrap();
        }
        let file = File::options().write(true).open(&path).unwrap();
        match what {
            "damaged" => file.write_all_at(&[0xff; 1000], 0).unwrap(),
            "emptied" => file.set_len(0).unwrap(),
            "removed" => fs::remove_file(&path).unwrap(),
            _ => {
                let other = path.with_extension("copy");
                fs::copy(&path, &other).unwrap();
                fs::rename(&other, &path).unwrap();
            }
        }
        assert!(database.ping().await.is_err(), "{what}");
    }
}
