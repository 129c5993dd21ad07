//! A health check that misbehaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use mainstay::Error;
use mainstay::health::Health;

use super::settings::{CheckFault, Faults};

/// Registers the check `faulty`, and returns a route that reports how often it was called.
pub(super) fn register(faults: &Faults, health: &Health) -> Result<Router, Error> {
    let calls = Arc::new(AtomicU64::new(0));
    let reported = Arc::clone(&calls);
    let fault = faults.check;
    if fault != CheckFault::None {
        health.register_check("faulty", faults.importance, move || {
            check(fault, calls.fetch_add(1, Ordering::Relaxed))
        })?;
    }
    let count = move || async move { reported.load(Ordering::Relaxed).to_string() };
    Ok(Router::new().route("/checks", get(count)))
}

async fn check(fault: CheckFault, earlier_calls: u64) -> Result<(), String> {
    match fault {
        CheckFault::None | CheckFault::Sound => Ok(()),
        CheckFault::Flaky if earlier_calls.is_multiple_of(2) => Ok(()),
        CheckFault::Flaky | CheckFault::Fails => Err("secret-7d1f at 10.9.8.7 refused".to_owned()),
        CheckFault::Panics => panic!("secret-7d1f made the check panic"),
        CheckFault::Hangs => std::future::pending().await,
        CheckFault::Blocks => {
            std::thread::sleep(Duration::from_hours(1));
            Ok(())
        }
    }
}
