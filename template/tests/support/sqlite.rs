//! A file in a directory of its own.

use tempfile::TempDir;

pub(super) type Place = TempDir;

pub(super) fn make() -> (String, Place) {
    let place = TempDir::new().expect("a directory for a database");
    let file = place.path().join("scratch.db");
    (format!("sqlite:{}", file.display()), place)
}
