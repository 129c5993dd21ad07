//! Hello: greets guests by name, counts their visits, and deletes guests who stay away.
//!
//! Replace it with your own code. It has a route, a table, a task, a metric and settings. The doc comments
//! of `Greeting` and `greet` are part of the API description, `openapi.json`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::IntoResponse;
use garde::Validate;
use mainstay::input::{Json, Path};
use mainstay::problem::Problem;
use mainstay::supervisor::{SpawnError, Supervisor};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::settings::Database;

/// `[hello]`
#[derive(Debug, Clone, Deserialize, Validate)]
pub(crate) struct Hello {
    /// The first word of a greeting.
    #[garde(length(min = 1))]
    pub(crate) greeting: String,
    /// A guest is deleted this long after the last visit.
    #[garde(skip)]
    pub(crate) forget_after: Duration,
}

/// The answer to a guest.
#[derive(Debug, Serialize, ToSchema)]
struct Greeting {
    message: String,
    /// The number of visits of this guest, including this one.
    times: i64,
}

pub(crate) fn routes(hello: Hello, guests: Guests) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(greet))
        .with_state((hello, guests))
}

/// Greets a guest
#[utoipa::path(post, path = "/hello/{name}", operation_id = "greet", tag = "hello",
    params(("name" = String, Path, description = "The name of the guest")),
    responses((status = OK, description = "The greeting", body = Greeting)))]
async fn greet(
    State((hello, guests)): State<(Hello, Guests)>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let times = guests.count_visit(&name).await?;
    metrics::counter!("greetings_total").increment(1);
    let message = format!("{}, {name}", hello.greeting);
    Ok(Json(Greeting { message, times }))
}

/// The guests in the database.
#[derive(Debug, Clone)]
pub(crate) struct Guests(Database);

impl Guests {
    pub(crate) fn new(database: Database) -> Self {
        metrics::describe_counter!("greetings_total", "Guests that were greeted.");
        Self(database)
    }

    /// Starts the task that deletes, once an hour, the guests whose last visit was at least `after` ago.
    pub(crate) fn spawn_retention(
        &self,
        supervisor: &Supervisor,
        after: Duration,
    ) -> Result<(), SpawnError> {
        let guests = self.clone();
        let task = supervisor.every("retention", Duration::from_hours(1));
        task.at_start().run(move |_| {
            let guests = guests.clone();
            async move { guests.delete_absent(after).await }
        })
    }

    async fn delete_absent(&self, after: Duration) -> Result<(), sqlx::Error> {
        let query = sqlx::query("DELETE FROM guests WHERE last_came <= $1");
        let query = query.bind(now() - i64::try_from(after.as_secs()).unwrap_or(i64::MAX));
        let guests = query.execute(self.0.write()).await?.rows_affected();
        tracing::info!(guests, "guests deleted");
        Ok(())
    }

    /// Counts a visit, and returns the number of visits of this guest.
    async fn count_visit(&self, name: &str) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(
            "INSERT INTO guests (name, times, last_came) VALUES ($1, 1, $2)
             ON CONFLICT (name) DO UPDATE SET times = guests.times + 1, last_came = $2
             RETURNING times",
        );
        query.bind(name).bind(now()).fetch_one(self.0.write()).await
    }
}

/// The current time in seconds since 1970, as in the column `last_came`.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}
