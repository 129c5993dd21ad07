//! Targets: the URLs that are watched.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use garde::Validate;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use url::Url;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::frame::database::{Database, Refusal, Transaction};
use crate::frame::idempotency::{self, Keys, Once};
use crate::frame::input::{Json, Path};
use crate::frame::problem::Problem;
use crate::frame::settings::{Check, Reader, Section};

/// `[monitor]`
#[derive(Debug, Clone)]
pub struct Monitor {
    pub max_targets: u32,
}

impl Section for Monitor {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            max_targets: from.value("max_targets"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.max_targets > 0,
            &["monitor.max_targets"],
            "must be at least 1",
        );
    }
}

/// A URL that is watched.
#[derive(Debug, Serialize, FromRow, ToSchema)]
struct Target {
    #[schema(example = 1)]
    id: i64,
    #[schema(format = "uri", example = "https://example.org/")]
    url: String,
}

/// A URL that is to be watched.
#[derive(Debug, Deserialize, Validate, ToSchema)]
struct NewTarget {
    /// It begins with `http://` or `https://`.
    #[garde(length(bytes, max = 2048), custom(|url, &()| of_the_web(url)))]
    #[schema(
        max_length = 2048,
        format = "uri",
        pattern = "^https?://",
        example = "https://example.org/"
    )]
    url: String,
}

fn of_the_web(url: &str) -> garde::Result {
    // A browser would take more than is a URL, and mend it.
    let is_written =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let is_of_the_web = url.starts_with("http://") || url.starts_with("https://");
    if is_of_the_web && url.bytes().all(is_written) && Url::parse(url).is_ok() {
        return Ok(());
    }
    let words = "is no URL that begins with http:// or https://";
    Err(garde::Error::new(words))
}

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

pub(super) fn routes(targets: Targets) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(read, remove))
        .with_state(targets)
}

/// Lists all targets
#[utoipa::path(get, path = "/targets", operation_id = "list_targets", tag = "targets",
    responses((status = OK, description = "All of them, the oldest first", body = [Target])))]
async fn list(State(targets): State<Targets>) -> Result<impl IntoResponse, Problem> {
    Ok(Json(targets.all().await?))
}

/// Adds a target
#[utoipa::path(post, path = "/targets", operation_id = "create_target", tag = "targets",
    params(idempotency::KeyHeader),
    request_body = NewTarget,
    responses(
        (status = CREATED, description = "It was added", body = Target,
            headers(("location" = String, description = "The path of the target"))),
        (status = CONFLICT, description = "`already_watched`, or `too_many_targets`."),
    ))]
async fn create(
    State(targets): State<Targets>,
    once: Once<Json<NewTarget>>,
) -> Result<Response, Problem> {
    let work = async |transaction: &mut Transaction, Json(new): Json<NewTarget>| {
        let target = targets.add(transaction, &new.url).await?;
        let location = format!("/v1/targets/{}", target.id);
        Ok((
            StatusCode::CREATED,
            [(header::LOCATION, location)],
            Json(target),
        ))
    };
    let response = once.run(&targets.keys, work).await?;
    if response.status() == StatusCode::CREATED && !idempotency::is_replayed(&response) {
        metrics::counter!("targets_added_total").increment(1);
    }
    Ok(response)
}

/// Shows a target
#[utoipa::path(get, path = "/targets/{id}", operation_id = "read_target", tag = "targets",
    params(("id" = i64, Path, description = "The number of the target")),
    responses(
        (status = OK, description = "The target", body = Target),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn read(
    State(targets): State<Targets>,
    Path(id): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    Ok(Json(targets.get(id).await?))
}

/// Removes a target
#[utoipa::path(delete, path = "/targets/{id}", operation_id = "remove_target", tag = "targets",
    params(("id" = i64, Path, description = "The number of the target")),
    responses(
        (status = NO_CONTENT, description = "It was removed"),
        (status = NOT_FOUND, description = "`not_found`: there is no such target"),
    ))]
async fn remove(
    State(targets): State<Targets>,
    Path(id): Path<i64>,
) -> Result<impl IntoResponse, Problem> {
    targets.remove(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The targets in the database.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    database: Database,
    keys: Keys,
    max: i64,
}

impl Targets {
    pub(super) fn new(database: Database, keys: Keys, max: u32) -> Self {
        metrics::describe_counter!("targets_added_total", "Targets that were added.");
        Self {
            database,
            keys,
            max: max.into(),
        }
    }

    async fn all(&self) -> Result<Vec<Target>, sqlx::Error> {
        sqlx::query_as("SELECT id, url FROM targets ORDER BY id")
            .fetch_all(self.database.read())
            .await
    }

    async fn get(&self, id: i64) -> Result<Target, sqlx::Error> {
        let query = sqlx::query_as("SELECT id, url FROM targets WHERE id = $1");
        query.bind(id).fetch_one(self.database.read()).await
    }

    async fn add(&self, transaction: &mut Transaction, url: &str) -> Result<Target, Problem> {
        // One statement, so that two at once cannot both take the last place.
        let query = sqlx::query_as(
            "INSERT INTO targets (url)
             SELECT $1 WHERE (SELECT count(*) FROM targets) < $2
             RETURNING id, url",
        );
        match query
            .bind(url)
            .bind(self.max)
            .fetch_optional(&mut **transaction)
            .await
        {
            Ok(Some(target)) => Ok(target),
            Ok(None) => Err(TOO_MANY),
            Err(error) if matches!(Refusal::of(&error), Refusal::Taken { .. }) => {
                Err(ALREADY_WATCHED)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn remove(&self, id: i64) -> Result<(), sqlx::Error> {
        let query = sqlx::query("DELETE FROM targets WHERE id = $1").bind(id);
        match query.execute(self.database.write()).await?.rows_affected() {
            0 => Err(sqlx::Error::RowNotFound),
            _ => Ok(()),
        }
    }
}
