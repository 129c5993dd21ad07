//! The start of the service, as far as it is not a matter of its parts.

use super::*;
use crate::frame::database;
use crate::scratch::Scratch;

#[tokio::test]
async fn a_start_looks_at_all_that_it_needs_and_names_what_is_not_as_it_must_be() {
    let scratch = Scratch::new();
    let database = Database::new(&database::tests::settings(scratch.url())).unwrap();
    database.migrate().await.unwrap();
    assert_eq!(look(&database).await, Ok(()));

    let changed = sqlx::query("ALTER TABLE schedule RENAME TO timetable");
    changed.execute(database.write()).await.unwrap();

    let told = look(&database).await.unwrap_err().to_string();
    assert!(told.starts_with("the schedule of checks: "), "{told}");
}
