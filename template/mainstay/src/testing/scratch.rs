//! An empty database for each test, which is removed in the end, and settings for it.

use garde::Validate;
use serde::Deserialize;
#[cfg(feature = "sqlite")]
use tempfile::TempDir;

use super::Guard;
use crate::settings::{Sources, Table, load};
use crate::{database, sections};

/// An engine that can make a database for a test.
pub trait TestEngine: database::Engine {
    /// Makes an empty database that no other test uses.
    fn scratch() -> Scratch;
}

/// A database for a test. It is removed when this is dropped.
#[derive(Debug)]
pub struct Scratch {
    /// The setting `database.url`.
    pub url: String,
    pub(super) guard: Guard,
}

#[cfg(feature = "sqlite")]
impl TestEngine for sqlx::Sqlite {
    fn scratch() -> Scratch {
        let directory = TempDir::new().expect("a directory for a database");
        Scratch {
            url: format!("sqlite:{}", directory.path().join("scratch.db").display()),
            guard: Box::new(directory),
        }
    }
}

/// The default settings, of a database at this URL.
pub fn database_settings(url: &str) -> database::Settings {
    #[derive(Deserialize, Validate)]
    struct Sections {
        #[garde(dive)]
        database: database::Settings,
    }
    let url = format!("[database]\nurl = {url:?}");
    let table = Table::new(&[sections::SETTINGS, database::SETTINGS, &url]);
    let loaded = load::<Sections>(table, &Sources::default());
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    loaded.settings.database
}
