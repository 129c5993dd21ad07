//! A dependency whose check misbehaves.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;

use crate::frame::health::Health;

use super::settings::{CheckFault, Faults};

/// Registers the check `faulty`, and gives a route that tells how often it was asked.
pub(super) fn register(
    faults: &Faults,
    health: &Health,
) -> Result<Router, Box<dyn Error + Send + Sync>> {
    let asked = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&asked);
    let fault = faults.check;
    if fault != CheckFault::None {
        health.check("faulty", faults.need, move || {
            answer(fault, asked.fetch_add(1, Ordering::Relaxed))
        })?;
    }
    let count = move || async move { told.load(Ordering::Relaxed).to_string() };
    Ok(Router::new().route("/asked", get(count)))
}

async fn answer(fault: CheckFault, before: u64) -> Result<(), String> {
    match fault {
        CheckFault::None | CheckFault::Sound => Ok(()),
        CheckFault::Flaky if before % 2 == 0 => Ok(()),
        CheckFault::Flaky | CheckFault::Fails => {
            Err("secret-7d1f at 10.9.8.7 refused".to_owned())
        }
        CheckFault::Panics => panic!("secret-7d1f made the check panic"),
        CheckFault::Hangs => std::future::pending().await,
        CheckFault::Blocks => {
            std::thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
    }
}
