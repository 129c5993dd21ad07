//! Tasks that fail, do not start, or do not stop.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use mainstay::Error;
use mainstay::supervisor::{Builder, Supervisor};
use tokio::sync::watch;

use super::settings::TaskFault;

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_hours(1);

/// Starts the faulty task, and returns the route that makes it fail.
pub(super) async fn start(fault: TaskFault, supervisor: &Supervisor) -> Result<Router, Error> {
    let fall = watch::Sender::new(false);
    match fault {
        TaskFault::None => {}
        TaskFault::Critical => falls(supervisor.task("faulty").critical(), &fall)?,
        TaskFault::Dispensable => falls(supervisor.task("faulty"), &fall)?,
        TaskFault::NotStarted => {
            sound(supervisor, "before").await?;
            Err::<(), Error>("the task faulty: it cannot start".into())?;
            sound(supervisor, "after").await?;
        }
        TaskFault::SlowStart => {
            sound(supervisor, "before").await?;
            tracing::info!("starting slowly");
            std::future::pending::<()>().await;
        }
        TaskFault::Deaf => {
            let deaf = supervisor
                .task("faulty")
                .stop_within(Duration::from_millis(500));
            deaf.run(|_| async {
                let _held = Held;
                tokio::time::sleep(FOR_EVER).await;
            })?;
        }
        TaskFault::TwoFailing => {
            sound(supervisor, "sound").await?;
            for name in ["one", "two"] {
                supervisor.task(name).run(|context| async move {
                    context.cancelled().await;
                    Err::<(), _>("it fails while it stops")
                })?;
            }
        }
    }
    let answer = move || async move {
        fall.send_replace(true);
        StatusCode::ACCEPTED
    };
    Ok(Router::new().route("/fall", get(answer)))
}

/// A task that runs until a request for `/fall`, and fails at once whenever it is restarted.
fn falls(task: Builder, fall: &watch::Sender<bool>) -> Result<(), Error> {
    let fall = fall.subscribe();
    let task = task
        .backoff(Duration::from_millis(1), Duration::from_millis(1))
        .max_restarts(3, Duration::from_mins(1));
    task.run(move |context| {
        let mut fall = fall.clone();
        async move {
            tokio::select! {
                _ = fall.wait_for(|fallen| *fallen) => Err("it has fallen"),
                () = context.cancelled() => Ok(()),
            }
        }
    })?;
    Ok(())
}

/// A task that logs its start and its stop. It has started when this function returns.
async fn sound(supervisor: &Supervisor, name: &'static str) -> Result<(), Error> {
    let started = watch::Sender::new(false);
    let mut is_started = started.subscribe();
    supervisor.task(name).run(move |context| {
        let started = started.clone();
        async move {
            tracing::info!(name, "sound task started");
            started.send_replace(true);
            context.cancelled().await;
            tracing::info!(name, "sound task stopped");
        }
    })?;
    is_started.wait_for(|is_started| *is_started).await?;
    Ok(())
}

/// Logs when it is dropped.
struct Held;

impl Drop for Held {
    fn drop(&mut self) {
        tracing::info!("released");
    }
}
