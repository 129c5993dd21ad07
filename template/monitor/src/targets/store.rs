//! The targets in the database.
//!
//! A change is made to the version that was looked at, and to no other: one that finds another there
//! says so, and changes nothing.

use axum::http::StatusCode;
use mainstay::database::ErrorKind;
use mainstay::problem::{Fault, Problem};

use super::path;
use super::settings::{Bounds, Monitor};
use super::target::{Content, Target};
use crate::moment::Moment;
use crate::paging::{Page, Part};
use crate::settings::{Database, Keys, Transaction};

const ALREADY_WATCHED: Problem = Problem::new(
    StatusCode::CONFLICT,
    "already_watched",
    "This URL is a target already",
);
const TOO_MANY: Problem = Problem::new(
    StatusCode::CONFLICT,
    "too_many_targets",
    "There is no room for another target",
);

/// The targets in the database.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    database: Database,
    keys: Keys,
    max: i64,
    bounds: Bounds,
}

/// Looks at what there is, before anybody asks for it.
pub(crate) async fn look(database: &Database) -> Result<(), sqlx::Error> {
    let query = sqlx::query_scalar("SELECT count(*) FROM targets");
    let known: i64 = query.fetch_one(database.read()).await?;
    tracing::info!(known, "targets");
    Ok(())
}

impl Targets {
    pub(crate) fn new(database: Database, keys: Keys, settings: &Monitor) -> Self {
        metrics::describe_counter!("targets_added_total", "Targets that were added.");
        Self {
            database,
            keys,
            max: settings.max_targets.into(),
            bounds: Bounds::of(settings),
        }
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// A part of the list, the oldest first.
    pub(super) async fn page(&self, part: Part) -> Result<Page<Target>, sqlx::Error> {
        let query = sqlx::query_as(
            "SELECT id, url, name, interval_seconds, timeout_seconds, enabled,
                    created_at, updated_at, version
             FROM targets WHERE id > $1 ORDER BY id LIMIT $2",
        );
        let query = query.bind(part.behind(0)).bind(part.probe());
        let found: Vec<Target> = query.fetch_all(self.database.read()).await?;
        Ok(part.page(found, |target| target.id))
    }

    pub(super) async fn get(&self, id: i64) -> Result<Target, sqlx::Error> {
        let query = sqlx::query_as(
            "SELECT id, url, name, interval_seconds, timeout_seconds, enabled,
                    created_at, updated_at, version
             FROM targets WHERE id = $1",
        );
        query.bind(id).fetch_one(self.database.read()).await
    }

    pub(super) async fn add(
        &self,
        transaction: &mut Transaction,
        content: &Content,
    ) -> Result<Target, Problem> {
        // Counted in the statement that adds, so that SQLite has never one too many. On Postgres, those
        // that come at the very same moment do not see each other.
        let query = sqlx::query_as(
            "INSERT INTO targets (url, name, interval_seconds, timeout_seconds, enabled,
                                  created_at, updated_at, version)
             SELECT $1, $2, $3, $4, $5, $6, $6, 1
             WHERE (SELECT count(*) FROM targets) < $7
             ON CONFLICT (url) DO NOTHING
             RETURNING id, url, name, interval_seconds, timeout_seconds, enabled,
                       created_at, updated_at, version",
        );
        let query = query
            .bind(&content.url)
            .bind(&content.name)
            .bind(content.interval_seconds)
            .bind(content.timeout_seconds)
            .bind(content.enabled)
            .bind(Moment::now())
            .bind(self.max);
        if let Some(target) = query.fetch_optional(&mut **transaction).await? {
            return Ok(target);
        }
        let query = sqlx::query_scalar("SELECT id FROM targets WHERE url = $1");
        let query = query.bind(&content.url);
        Err(match query.fetch_optional(&mut **transaction).await? {
            Some(id) => already_watched(id),
            None => TOO_MANY,
        })
    }

    /// Puts this in the place of a target, unless that is another one by now.
    pub(super) async fn replace(
        &self,
        target: &Target,
        content: &Content,
    ) -> Result<Option<Target>, Problem> {
        let query = sqlx::query_as(
            "UPDATE targets
             SET url = $3, name = $4, interval_seconds = $5, timeout_seconds = $6, enabled = $7,
                 updated_at = $8, version = version + 1
             WHERE id = $1 AND version = $2
             RETURNING id, url, name, interval_seconds, timeout_seconds, enabled,
                       created_at, updated_at, version",
        );
        let query = query
            .bind(target.id)
            .bind(target.version)
            .bind(&content.url)
            .bind(&content.name)
            .bind(content.interval_seconds)
            .bind(content.timeout_seconds)
            .bind(content.enabled)
            // A clock may be set back; what is told of a target is not.
            .bind(Moment::now().max(target.updated_at));
        match query.fetch_optional(self.database.write()).await {
            Ok(changed) => Ok(changed),
            Err(error) if matches!(ErrorKind::of(&error), ErrorKind::AlreadyExists(_)) => {
                let query = sqlx::query_scalar("SELECT id FROM targets WHERE url = $1");
                let query = query.bind(&content.url);
                let other = query.fetch_optional(self.database.read()).await?;
                // If it has just gone, there is room by now.
                other.map_or(Ok(None), |id| Err(already_watched(id)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a target, unless it is another one by now; says whether it did.
    pub(super) async fn remove(&self, target: &Target) -> Result<bool, sqlx::Error> {
        let query = sqlx::query("DELETE FROM targets WHERE id = $1 AND version = $2");
        let query = query.bind(target.id).bind(target.version);
        let removed = query.execute(self.database.write()).await?;
        Ok(removed.rows_affected() > 0)
    }
}

/// Names the target, and not the URL: it may hold what no answer should repeat.
fn already_watched(id: i64) -> Problem {
    let words = format!("is watched already, by {}", path(id));
    ALREADY_WATCHED.with([Fault::in_body("/url", words)])
}
