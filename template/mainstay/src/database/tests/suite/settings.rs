//! Two databases, each with a section of its own.

use garde::Validate;
use serde::Deserialize;

use super::*;
use crate::settings::{Reference, Sources, load};

/// The settings of a service with two databases.
#[derive(Debug, Deserialize, Validate)]
struct Both {
    #[garde(dive)]
    database: Settings<E>,
    #[garde(dive)]
    archive: Settings<E>,
}

/// The references of the two, at URLs of this engine, and `set` over them.
fn both(set: &[&str]) -> Result<Both, String> {
    let [first, second] = [Scratch::<E>::new(), Scratch::<E>::new()];
    let urls = format!(
        "[database]\nurl = \"{}\"\n[archive]\nurl = \"{}\"\n",
        first.url(),
        second.url()
    );
    let archive = settings_named("archive");
    let reference = Reference::new(&[crate::sections::SETTINGS, SETTINGS, &archive, &urls]);
    let sources = Sources {
        set: set.iter().map(ToString::to_string).collect(),
        ..Sources::default()
    };
    let loaded = load::<Both>(&reference, &sources);
    let settings = loaded.map_err(|problems| problems.to_string())?.settings;
    assert_eq!(settings.database.url.expose(), first.url());
    assert_eq!(settings.archive.url.expose(), second.url());
    Ok(settings)
}

#[test]
fn named_section_has_the_same_keys() {
    let keys = |text: &str| {
        let reference = Reference::new(&[text]);
        let keys = reference.keys().map(str::to_owned);
        keys.collect::<Vec<_>>()
    };
    let first = keys(SETTINGS);
    let renamed = first.iter().map(|key| key.replace("database", "archive"));
    assert_eq!(
        keys(&settings_named("archive")),
        renamed.collect::<Vec<_>>()
    );
    assert!(first.contains(&"health.database".to_owned()), "{first:?}");
}

#[test]
fn two_databases_have_their_own_settings() {
    let set = ["archive.max_connections=3", "health.archive=required"];
    let Both { database, archive } = both(&set).unwrap();
    assert_eq!((database.max_connections, archive.max_connections), (10, 3));
    assert_eq!([database.name, archive.name], ["database", "archive"]);
    let importance = (database.health, archive.health);
    assert_eq!(
        importance,
        (crate::Importance::Degraded, crate::Importance::Required)
    );
}

#[test]
fn problem_names_the_section_of_its_database() {
    let report = both(&["archive.acquire_timeout=1m"]).unwrap_err();
    assert!(report.starts_with("1 problem "), "{report}");
    for key in ["archive.acquire_timeout = \"1m\"", "http.request_timeout"] {
        assert!(report.contains(key), "{key} is not in {report}");
    }
    let report = both(&["archive.max_connections=0"]).unwrap_err();
    assert!(report.contains("archive.max_connections = 0"), "{report}");
}

#[test]
fn every_key_is_read_and_described() {
    #[derive(Deserialize, Validate)]
    struct Own {
        #[garde(dive)]
        mainstay: crate::Settings,
        #[garde(dive)]
        database: Settings<E>,
    }

    impl AsRef<crate::Settings> for Own {
        fn as_ref(&self) -> &crate::Settings {
            &self.mainstay
        }
    }

    let scratch = Scratch::<E>::new();
    let url = format!("[database]\nurl = \"{}\"\n", scratch.url());
    let service = crate::Service::<Own>::new(crate::build_info!());
    crate::testing::check_settings(&service.settings(SETTINGS).settings(url));
}

#[test]
fn error_names_the_section_of_its_database() {
    let scratch = Scratch::<E>::new();
    let mut settings: Settings<E> = database_settings(scratch.url());
    settings.name = "archive".to_owned();
    let database = Database::new(&settings, &[]).unwrap();
    for (error, key) in [
        (settings.cannot_open(sqlx::Error::WorkerCrashed), "url"),
        (
            settings.cannot_open(sqlx::Error::PoolTimedOut),
            "acquire_timeout",
        ),
        (
            database.run_migrate_first("does not exist yet"),
            "migrate_on_start",
        ),
    ] {
        let error = error.to_string();
        assert!(error.contains(&format!("archive.{key}")), "{error}");
        assert!(!error.contains("database."), "{error}");
    }
}
