//! Hello: greets guests by name, and counts how often each has come.

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

/// `[hello]`
#[derive(Debug, Clone)]
pub struct Hello {
    pub greeting: String,
}

impl Section for Hello {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            greeting: from.value("greeting"),
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

    /// Counts one more visit, and says how many there have been.
    async fn welcome(&self, name: &str) -> Result<i64, sqlx::Error> {
        let query = sqlx::query_scalar(
            "INSERT INTO guests (name, times) VALUES ($1, 1)
             ON CONFLICT (name) DO UPDATE SET times = guests.times + 1
             RETURNING times",
        );
        query.bind(name).fetch_one(self.0.write()).await
    }
}
