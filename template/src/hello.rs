//! Hello: greets guests by name, counts their visits, and forgets guests who stay away. Yours to
//! replace: it has one of each thing that a service is made of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::IntoResponse;
use mainstay::input::{Json, Path};
use mainstay::problem::Problem;
use mainstay::settings::{Reader, Section};
use mainstay::supervisor::{SpawnError, Supervisor};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::settings::Database;

/// `[hello]`
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    /// How a guest is greeted.
    pub(crate) greeting: String,
    /// A guest who stays away for so long is forgotten.
    pub(crate) forget_after: Duration,
}

impl Section for Hello {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            greeting: from.value("greeting"),
            forget_after: from.value("forget_after"),
        }
    }
}

/// What a guest is told.
#[derive(Debug, Serialize, ToSchema)]
struct Greeting {
    message: String,
    /// How often the guest has come, this time included.
    times: i64,
}

pub(crate) fn routes(hello: Hello, guests: Guests) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(greet))
        .with_state((hello, guests))
}

/// Greets a guest
#[utoipa::path(post, path = "/hello/{name}", operation_id = "greet", tag = "hello",
    params(("name" = String, Path, description = "Who comes")),
    responses((status = OK, description = "The greeting", body = Greeting)))]
async fn greet(
    State((hello, guests)): State<(Hello, Guests)>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let times = guests.welcome(&name).await?;
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

    /// Starts the task that forgets guests who have stayed away for so long, once an hour.
    pub(crate) fn spawn_retention(
        &self,
        supervisor: &Supervisor,
        after: Duration,
    ) -> Result<(), SpawnError> {
        let guests = self.clone();
        let task = supervisor.every("retention", Duration::from_hours(1));
        let spawned = task.at_start().run(move |_| {
            let guests = guests.clone();
            async move { guests.forget(after).await }
        });
        spawned.map(drop)
    }

    async fn forget(&self, after: Duration) -> Result<(), sqlx::Error> {
        let query = sqlx::query("DELETE FROM guests WHERE last_came <= $1");
        let query = query.bind(now() - i64::try_from(after.as_secs()).unwrap_or(i64::MAX));
        let guests = query.execute(self.0.write()).await?.rows_affected();
        tracing::info!(guests, "forgotten");
        Ok(())
    }

    /// Counts one more visit, and says how many there have been.
    async fn welcome(&self, name: &str) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(
            "INSERT INTO guests (name, times, last_came) VALUES ($1, 1, $2)
             ON CONFLICT (name) DO UPDATE SET times = guests.times + 1, last_came = $2
             RETURNING times",
        );
        query.bind(name).bind(now()).fetch_one(self.0.write()).await
    }
}

/// In seconds since 1970, as the database has it.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}
