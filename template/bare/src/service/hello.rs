//! Hello: greets guests by name, counts how often each has come, and forgets whoever stays away.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::frame::database::Database;
use crate::frame::input::{Json, Path};
use crate::frame::problem::Problem;
use crate::frame::settings::{Reader, Section};
use crate::frame::supervisor::{Refused, Supervisor};

/// `[hello]`
#[derive(Debug, Clone)]
pub struct Hello {
    pub greeting: String,
    pub forget_after: Duration,
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

pub(super) fn routes(hello: Hello, guests: Guests) -> OpenApiRouter {
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
pub(super) struct Guests(Database);

impl Guests {
    pub(super) fn new(database: Database) -> Self {
        metrics::describe_counter!("greetings_total", "Guests that were greeted.");
        Self(database)
    }

    /// Forgets those who have not come for so long, once an hour, for as long as the service runs.
    pub(super) fn forgotten_by(
        &self,
        supervisor: &Supervisor,
        after: Duration,
    ) -> Result<(), Refused> {
        let guests = self.clone();
        let task = supervisor.every("forgetting", Duration::from_hours(1));
        let forgetting = task.at_start().run(move |_| {
            let guests = guests.clone();
            async move { guests.forget(after).await }
        });
        forgetting.map(drop)
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
