//! Two databases, each with a section of its own.

use garde::Validate;
use serde::Deserialize;

use super::*;
use crate::settings::{Sources, Table, load};

/// The settings of a service with two databases.
#[derive(Debug, Deserialize, Validate)]
struct Both {
    #[garde(dive)]
    database: Settings,
    #[garde(dive)]
    archive: Settings,
}

/// Loads the settings of both, with `set` over them.
fn both(set: &[&str]) -> Result<Both, String> {
    let [first, second] = [E::scratch(), E::scratch()];
    let urls = [&first.url, &second.url];
    let [database, archive] = urls;
    let urls_of_both = format!("[database]\nurl = {database:?}\n[archive]\nurl = {archive:?}\n");
    let section = settings_named("archive");
    let table = Table::new(&[crate::sections::SETTINGS, SETTINGS, &section, &urls_of_both]);
    let sources = Sources {
        set: set.iter().map(ToString::to_string).collect(),
        ..Sources::default()
    };
    let both = load::<Both>(table, &sources)?.settings;
    assert_eq!(
        [both.database.url.expose(), both.archive.url.expose()],
        urls
    );
    Ok(both)
}

#[test]
fn two_databases_have_their_own_settings() {
    let set = ["archive.max_connections=3", "health.archive=required"];
    let Both { database, archive } = both(&set).unwrap();
    assert_eq!((database.max_connections, archive.max_connections), (10, 3));
    assert_eq!([database.name, archive.name], ["database", "archive"]);
    assert_eq!(database.health, crate::Importance::Degraded);
    assert_eq!(archive.health, crate::Importance::Required);

    let report = both(&["archive.acquire_timeout=1m"]).unwrap_err();
    assert!(report.starts_with("1 problem "), "{report}");
    for key in ["archive.acquire_timeout = \"1m\"", "http.request_timeout"] {
        assert!(report.contains(key), "{key} is not in {report}");
    }
}

#[test]
fn error_names_the_section_of_its_database() {
    let scratch = E::scratch();
    let mut settings = database_settings(&scratch.url);
    settings.name = "archive".to_owned();
    let database = Database::<E>::new(&settings, &[]).unwrap();
    let pending = database.run_migrate_first("does not exist yet");
    let late = settings.cannot_open(sqlx::Error::PoolTimedOut);
    for (error, key) in [(late, "acquire_timeout"), (pending, "migrate_on_start")] {
        let error = error.to_string();
        assert!(error.contains("(archive.url)"), "{error}");
        assert!(error.contains(&format!("archive.{key}")), "{error}");
        assert!(!error.contains("database."), "{error}");
    }
}
