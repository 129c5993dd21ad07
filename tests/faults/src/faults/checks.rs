//! A health check that misbehaves.

use std::time::Duration;

use mainstay::Error;
use mainstay::health::Health;

use super::settings::{CheckFault, Faults};

/// Registers the check `faulty`.
pub(super) fn register(faults: &Faults, health: &Health) -> Result<(), Error> {
    let fault = faults.check;
    if fault != CheckFault::None {
        health.register_check("faulty", faults.importance, move || check(fault))?;
    }
    Ok(())
}

async fn check(fault: CheckFault) -> Result<(), String> {
    match fault {
        CheckFault::None => Ok(()),
        CheckFault::Fails => Err("secret-7d1f at 10.9.8.7 refused".to_owned()),
        CheckFault::Panics => panic!("secret-7d1f made the check panic"),
        CheckFault::Hangs => std::future::pending().await,
        CheckFault::Blocks => {
            std::thread::sleep(Duration::from_hours(1));
            Ok(())
        }
    }
}
