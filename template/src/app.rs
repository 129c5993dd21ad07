//! The composition root: starts the parts of this service in order, and registers each for the phase that
//! stops it.

use mainstay::database::Migrations;
use mainstay::process::Process;
use mainstay::service::{Launch, Migratable, Service};
use mainstay::{Error, Exit, edge, openapi};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::hello::{self, Guests};
use crate::settings::{Database, Settings};

// The schema of this service.{{ nl }}static MIGRATIONS: Migrations = mainstay::migrations!("$CARGO_MANIFEST_DIR/migrations/{{ database }}");{% comment %}
#[cfg(not(feature = "postgres"))]
static MIGRATIONS: Migrations = mainstay::migrations!("$CARGO_MANIFEST_DIR/migrations/sqlite");
#[cfg(feature = "postgres")]
static MIGRATIONS: Migrations = mainstay::migrations!("$CARGO_MANIFEST_DIR/migrations/postgres");
// {% endcomment %}

/// The API as a whole, for its description. Each route describes itself.
#[derive(OpenApi)]
#[openapi(
    info(title = "Hello", description = "Greets guests and counts their visits."),
    tags((name = "hello", description = "Guests and their greetings"))
)]
struct Api;

/// Describes this service: its name, its listeners and all its settings.
pub(crate) fn service() -> Service<Settings> {
    Service::new(mainstay::build_info!())
        .listeners(&["http"])
        .settings(mainstay::database::SETTINGS)
        // The service's own file may change the machinery's defaults.{{ nl }}        .settings(include_str!("../config/default.toml")){% comment %}
        .settings(include_str!("../config/default.toml"))
        .settings(if cfg!(feature = "postgres") {
            "[database]\nurl = \"postgres://postgres@localhost/beacon\""
        } else {
            ""
        })
    // {% endcomment %}
}

/// The databases that the command `migrate` migrates.
pub(crate) fn databases(settings: &Settings) -> Result<Vec<Box<dyn Migratable>>, Error> {
    Ok(vec![Box::new(database(settings)?)])
}

/// The command `serve`: starts, runs and stops the service.
pub(crate) async fn serve(launch: Launch<Settings>) -> Result<Exit, Error> {
    // The log, signals, metrics and the operator's listener come first, so that a slow start is visible.
    let process = Process::init(&launch)?;

    // Start; a signal or the operator can end the start early. Then run until there is a cause to stop.
    let cause = match process.start(start(launch.settings(), &process)).await {
        Ok(()) => process.run().await,
        Err(cause) => cause,
    };

    // Stop. First, report unready but keep serving, until load balancers have noticed. Then drain requests, stop
    // tasks and close databases, in this order. Each phase has a time limit; a second signal exits at once.
    Ok(process.stop(cause).await)
}

/// Starts each part, and registers it for the phase that stops it.
async fn start(settings: &Settings, process: &Process) -> Result<(), Error> {
    // Connect to the database, migrate it, and start its health check.
    let database = database(settings)?;
    process.close_on_stop(database.clone());
    process.set_startup_step("the database");
    database.connect().await?;
    process.set_startup_step("the migrations");
    database.migrate_or_verify().await?;
    let (health, importance) = (process.health(), settings.database.health);
    health.register_check("database", importance, database.readiness_probe())?;

    // Tasks.
    process.set_startup_step("tasks");
    let guests = Guests::new(database);
    guests.spawn_retention(process.supervisor(), settings.hello.forget_after)?;

    // HTTP.
    let api = OpenApiRouter::with_openapi(Api::openapi());
    let api = api.nest("/v1", hello::routes(settings.hello.clone(), guests));
    let http = &settings.mainstay.http;
    let routes = openapi::with_documentation(api, http.documentation)?;
    let routes = edge::protect(routes, http, process.metrics().requests());
    let routes = routes.merge(process.health().routes());
    process.serve("http", http.listen, routes, &http.limits)?;
    Ok(())
}

/// The database that the settings name.
fn database(settings: &Settings) -> Result<Database, Error> {
    Ok(Database::new(&settings.database, &[&MIGRATIONS])?)
}

#[cfg(test)]
mod tests {
    use mainstay::testing::{check_settings, check_statements};

    use super::*;
    use crate::settings::Engine;

    #[test]
    fn every_setting_is_described_and_read() {
        check_settings(&service());
    }

    #[test]
    fn every_statement_fits_the_schema() {
        check_statements::<Engine>(&[&MIGRATIONS], "src");
    }
}
