//! The targets in the database.
//!
//! An update or removal applies to one version, and changes nothing if the target has another version by now.

use axum::http::StatusCode;
use mainstay::database::ErrorKind;
use mainstay::problem::{Fault, Problem};

use super::path;
use super::settings::{Bounds, Monitor};
use super::target::{Content, Target};
use crate::paging::{Page, Part};
use crate::settings::{Database, Keys, Transaction};
use crate::timestamp::Timestamp;

const ALREADY_WATCHED: Problem = Problem::new(
    StatusCode::CONFLICT,
    "already_watched",
    "This URL is already watched",
);
const TOO_MANY: Problem =
    Problem::new(StatusCode::CONFLICT, "too_many_targets", "Too many targets");

/// The targets in the database.
#[derive(Debug, Clone)]
pub(crate) struct Targets {
    database: Database,
    keys: Keys,
    max: i64,
    bounds: Bounds,
}

/// Counts the targets, which also checks at the start that the table can be read.
pub(crate) async fn ensure_readable(database: &Database) -> Result<(), sqlx::Error> {
    let query = sqlx::query_scalar("SELECT count(*) FROM targets");
    let known: i64 = query.fetch_one(database.read()).await?;
    tracing::info!(known, "targets");
    Ok(())
}

impl Targets {
    pub(crate) fn new(database: Database, keys: Keys, settings: &Monitor) -> Self {
        metrics::describe_counter!("targets_added_total", "Added targets.");
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

    /// A page of the list, the oldest first.
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
        // The statement that inserts also counts, so that SQLite never exceeds the limit. On Postgres,
        // concurrent statements do not see each other.
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
            .bind(Timestamp::now())
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

    /// Updates a target. Returns `None` if it has another version by now.
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
            // A clock may be set back, but `updated_at` never goes back.
            .bind(Timestamp::now().max(target.updated_at));
        match query.fetch_optional(self.database.write()).await {
            Ok(changed) => Ok(changed),
            Err(error) if matches!(ErrorKind::of(&error), ErrorKind::AlreadyExists(_)) => {
                let query = sqlx::query_scalar("SELECT id FROM targets WHERE url = $1");
                let query = query.bind(&content.url);
                let other = query.fetch_optional(self.database.read()).await?;
                // If the other target was removed meanwhile, retry.
                other.map_or(Ok(None), |id| Err(already_watched(id)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a target. Returns false if it has another version by now.
    pub(super) async fn remove(&self, target: &Target) -> Result<bool, sqlx::Error> {
        let query = sqlx::query("DELETE FROM targets WHERE id = $1 AND version = $2");
        let query = query.bind(target.id).bind(target.version);
        let removed = query.execute(self.database.write()).await?;
        Ok(removed.rows_affected() > 0)
    }
}

/// Names the other target and not the URL, which may contain a secret.
fn already_watched(id: i64) -> Problem {
    let words = format!("is already watched by {}", path(id));
    ALREADY_WATCHED.with([Fault::in_body("/url", words)])
}
