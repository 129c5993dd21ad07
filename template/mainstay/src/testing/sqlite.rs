//! A file in a directory of its own.

use sqlx::Sqlite;
use tempfile::TempDir;

use super::TestEngine;

impl TestEngine for Sqlite {
    type Place = TempDir;

    fn make() -> (String, TempDir) {
        let place = TempDir::new().expect("a directory for a database");
        let file = place.path().join("scratch.db");
        (format!("sqlite:{}", file.display()), place)
    }
}
