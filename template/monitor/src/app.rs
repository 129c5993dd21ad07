//! The composition root: starts the parts of this service in order, and registers each for the phase that
//! stops it.

use std::time::Duration;

use futures_util::TryFutureExt;
use mainstay::database::Migrations;
use mainstay::process::Process;
use mainstay::service::{Launch, Migratable, Service};
use mainstay::{Error, Exit, edge, idempotency, openapi};
use sqlx::migrate::Migrator;
use tokio::time::timeout;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::settings::{Database, Engine, Keys, Settings};
use crate::summary::Summary;
use crate::targets::Targets;
use crate::{changes, checks, summary, targets};

// The schema of this service.{{ nl }}static MIGRATIONS: Migrations = mainstay::migrations!("$CARGO_MANIFEST_DIR/migrations/{{ database }}");{% comment %}
#[cfg(not(feature = "postgres"))]
static MIGRATIONS: Migrations = mainstay::migrations!("$CARGO_MANIFEST_DIR/migrations/sqlite");
#[cfg(feature = "postgres")]
static MIGRATIONS: Migrations = mainstay::migrations!("$CARGO_MANIFEST_DIR/migrations/postgres");
// {% endcomment %}

/// The API as a whole, for its description. Each route describes itself.
#[derive(OpenApi)]
#[openapi(
    info(title = "Targets", description = "The URLs that are watched."),
    tags(
        (name = "targets", description = "The watched URLs"),
        (name = "checks", description = "The results of their checks"),
        (name = "changes", description = "Changes of their state, live"),
    )
)]
struct Api;

/// How long a start waits for the first summary, which only makes the first answers faster.
const SUMMARY_AT_START: Duration = Duration::from_millis(500);

/// Describes this service: its name, its listeners and all its settings.
pub(crate) fn service() -> Service<Settings> {
    Service::new(mainstay::build_info!())
        .listeners(&["http"])
        .settings(mainstay::database::SETTINGS)
        .settings(idempotency::SETTINGS)
        // The service's own file may change the machinery's defaults.{{ nl }}        .settings(include_str!("../config/default.toml")){% comment %}
        .settings(include_str!("../config/default.toml"))
        .settings(if cfg!(feature = "postgres") {
            "[database]\nurl = \"postgres://postgres@localhost/monitor\""
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
    let (supervisor, health) = (process.supervisor(), process.health());

    // Connect to the database, migrate it, and start its health check.
    let database = database(settings)?;
    process.close_on_stop(database.clone());
    process.set_startup_step("the database");
    database.connect().await?;
    process.set_startup_step("the migrations");
    database.migrate_or_verify().await?;
    let importance = settings.database.health;
    health.register_check("database", importance, database.readiness_probe())?;
    let keys = Keys::new(&settings.idempotency, database.clone());
    keys.spawn_maintenance(supervisor)?;
    process.set_startup_step("a first read of the data");
    verify_schema(&database).await?;

    // The parts of the monitor, each with its tasks. They stop in reverse order, so that checks still
    // announce what they find.
    process.set_startup_step("tasks");
    let monitor = &settings.monitor;
    let retention = monitor.checks.retention();
    let changes = changes::start(&monitor.changes, retention, supervisor, &database).await?;
    let stop = settings.mainstay.shutdown.tasks;
    let checks = checks::start(&monitor.checks, stop, supervisor, health, &database)?;
    let summary = Summary::start(monitor.summary, supervisor, &database, process.cpu())?;
    if !matches!(timeout(SUMMARY_AT_START, summary.warm()).await, Ok(Ok(()))) {
        tracing::warn!("starting without a first summary");
    }
    let targets = Targets::new(database, keys, &monitor.targets);

    // HTTP.
    let routes = targets::routes(targets).merge(checks).merge(changes);
    let routes = routes.merge(summary::routes(summary));
    let api = OpenApiRouter::with_openapi(Api::openapi()).nest("/v1", routes);
    let http = &settings.mainstay.http;
    let routes = openapi::with_documentation(api, http.documentation)?;
    let routes = edge::protect(routes, http, process.metrics().requests());
    let routes = routes.merge(health.routes());
    process.serve("http", http.listen, routes, &http.limits)?;
    Ok(())
}

/// The database that the settings name.
fn database(settings: &Settings) -> Result<Database, Error> {
    Ok(Database::new(&settings.database, &migrations())?)
}

/// The schema of that database: the service's own, and the table of idempotency keys.
pub(crate) fn migrations() -> [&'static Migrator; 2] {
    [&MIGRATIONS, idempotency::migrations::<Engine>()]
}

/// Reads each table that the service needs, concurrently: a table that was changed by hand fails the
/// start, and not the first request. The first failure cancels the other reads.
async fn verify_schema(database: &Database) -> Result<(), String> {
    let targets =
        targets::ensure_readable(database).map_err(|error| format!("the targets: {error}"));
    let checks = checks::ensure_readable(database);
    let checks = checks.map_err(|error| format!("the schedule of checks: {error}"));
    tokio::try_join!(targets, checks)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use mainstay::testing::{check_settings, check_statements};

    use super::*;
    use crate::watched::Watched;

    #[test]
    fn every_setting_is_described_and_read() {
        check_settings(&service());
    }

    #[test]
    fn every_statement_fits_the_schema() {
        check_statements::<Engine>(&migrations(), "src");
    }

    #[tokio::test]
    async fn start_names_a_table_that_cannot_be_read() {
        let watched = Watched::new().await;
        assert_eq!(verify_schema(&watched.database).await, Ok(()));

        watched
            .run("ALTER TABLE schedule RENAME TO timetable")
            .await;

        let message = verify_schema(&watched.database).await.unwrap_err();
        assert!(message.starts_with("the schedule of checks: "), "{message}");
    }
}
