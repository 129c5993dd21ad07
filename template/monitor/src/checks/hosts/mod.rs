//! The hosts that are requested, each with a limit and a circuit breaker.
//!
//! - At most `monitor.per_host` checks of one host run at once, so that a slow host cannot occupy all
//!   checkers (a bulkhead). Beyond that, a scheduled check is [refused](Hosts::try_acquire), and a check with
//!   a waiting client [waits](Hosts::acquire).
//! - Waiting checks do not starve scheduled ones: after a refusal, one permit is reserved until the scheduled
//!   check returns.
//! - A host that does not respond is not requested for a while. Then one trial check decides whether others
//!   follow (a circuit breaker).
//! - At most `monitor.max_hosts` idle hosts are remembered: those that were requested last.
//!
//! Permits count checks. A hedged request, or the target of a redirect, needs none.

mod breaker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garde::Validate;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::numbers;
use breaker::{Breaker, Limits};

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Settings {
    #[garde(range(min = 1))]
    pub(super) per_host: usize,
    #[garde(range(min = 1))]
    pub(super) max_hosts: usize,
    #[garde(range(min = 1))]
    pub(super) breaker_failures: u32,
    pub(super) breaker_pause: Duration,
}

/// The name of the host of this URL, with its port.
pub(super) fn name(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::BeforePath]
}

/// How long a permit is reserved for a refused check. The check is postponed for less.
const RESERVATION: Duration = Duration::from_secs(5);

/// Clones share their state.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Mutex<HashMap<Name, Host>>,
    settings: Settings,
}

/// The host as in URLs, with the port.
type Name = Arc<str>;

#[derive(Debug)]
struct Host {
    breaker: Breaker,
    /// The number of running checks.
    running: usize,
    last: Instant,
    /// Until then, one permit is reserved for a refused check.
    reserved: Option<Instant>,
    /// Wakes one waiting check when a permit may be free.
    freed: Arc<Notify>,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// All permits are taken: retry later.
    Busy,
    /// The breaker is open.
    Down,
}

impl Hosts {
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Arc::new(Inner {
            known: Mutex::default(),
            settings: settings.clone(),
        }))
    }

    /// A permit for a scheduled check of the host of this URL.
    pub(super) fn try_acquire(&self, url: &Url) -> Result<Permit, Refused> {
        self.with_host(url, |host| {
            let acquired = host.try_acquire(self.0.settings.per_host);
            host.reserved = match acquired {
                Err(Refused::Busy) => Some(Instant::now() + RESERVATION),
                Ok(_) | Err(Refused::Down) => None,
            };
            acquired
        })
    }

    /// A permit for a check with a waiting client: once there is one, or `None` if the host is down.
    pub(super) async fn acquire(&self, url: &Url) -> Option<Permit> {
        let mut waiter = Waiter(None);
        loop {
            let mut reserved = None;
            let acquired = self.with_host(url, |host| {
                reserved = host.reserved.filter(|until| *until > Instant::now());
                let most = self.0.settings.per_host;
                let acquired = host.try_acquire(most - usize::from(reserved.is_some()));
                // The check that takes the last permit wakes no other: its end does.
                let is_last = acquired.is_ok() && host.running >= most;
                waiter.0 = (!is_last).then(|| Arc::clone(&host.freed));
                acquired
            });
            match acquired {
                Ok(permit) => return Some(permit),
                Err(Refused::Down) => return None,
                Err(Refused::Busy) => waiter.wait(reserved).await,
            }
        }
    }

    /// A permit, if `at` grants one on the host of this URL.
    fn with_host(
        &self,
        url: &Url,
        at: impl FnOnce(&mut Host) -> Result<bool, Refused>,
    ) -> Result<Permit, Refused> {
        let name: Name = name(url).into();
        let mut known = self.known();
        if !known.contains_key(&name) {
            self.make_room(&mut known);
            numbers::host(Breaker::NEW.state(), 1.0);
            known.insert(Arc::clone(&name), Host::new());
        }
        let host = known.entry(Arc::clone(&name)).or_insert_with(Host::new);
        let is_trial = at(host)?;
        Ok(Permit {
            hosts: self.clone(),
            name,
            is_trial,
            answered: None,
        })
    }

    /// Removes the hosts that were requested longest ago, until there is room for one more.
    fn make_room(&self, known: &mut HashMap<Name, Host>) {
        while known.len() >= self.0.settings.max_hosts {
            let idle = known.iter().filter(|(_, host)| host.is_idle());
            let Some((name, _)) = idle.min_by_key(|(_, host)| host.last) else {
                return;
            };
            let name = Arc::clone(name);
            if let Some(host) = known.remove(&name) {
                numbers::host(host.breaker.state(), -1.0);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Name, Host>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn new() -> Self {
        Self {
            breaker: Breaker::NEW,
            running: 0,
            last: Instant::now(),
            reserved: None,
            freed: Arc::default(),
        }
    }

    /// Takes a permit if fewer than `most` are taken. Returns whether this check is the trial.
    fn try_acquire(&mut self, most: usize) -> Result<bool, Refused> {
        let breaker = self.breaker.admit().ok_or(Refused::Down)?;
        if self.running >= most {
            return Err(Refused::Busy);
        }
        self.set_breaker(breaker);
        self.running += 1;
        self.last = Instant::now();
        Ok(breaker == Breaker::HalfOpen)
    }

    /// Whether no check runs or waits.
    fn is_idle(&self) -> bool {
        self.running == 0 && Arc::strong_count(&self.freed) == 1
    }

    fn set_breaker(&mut self, breaker: Breaker) {
        let (before, after) = (self.breaker.state(), breaker.state());
        self.breaker = breaker;
        if before != after {
            numbers::host(before, -1.0);
            numbers::host(after, 1.0);
        }
    }
}

/// A check that waits for a permit. When it stops waiting, with or without a permit, it wakes the next one,
/// unless it took the last permit.
struct Waiter(Option<Arc<Notify>>);

impl Waiter {
    /// Waits until a permit may be free, or is no longer reserved.
    async fn wait(&self, reserved: Option<Instant>) {
        let Some(freed) = &self.0 else { return };
        let Some(reserved) = reserved else {
            return freed.notified().await;
        };
        tokio::select! {
            () = freed.notified() => {}
            () = sleep_until(reserved) => {}
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(freed) = &self.0 {
            freed.notify_one();
        }
    }
}

/// The permit for one check of a host. Dropped without [`end`](Self::end), the check does not count.
#[derive(Debug)]
#[must_use]
pub(super) struct Permit {
    hosts: Hosts,
    name: Name,
    is_trial: bool,
    answered: Option<bool>,
}

impl Permit {
    /// Ends the check, with or without a response of the host.
    pub(super) fn end(mut self, answered: bool) {
        self.answered = Some(answered);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let settings = &self.hosts.0.settings;
        let limits = Limits {
            failures: settings.breaker_failures,
            pause: settings.breaker_pause,
        };
        let mut known = self.hosts.known();
        // A host with running checks is not removed.
        let Some(host) = known.get_mut(&self.name) else {
            return;
        };
        host.running -= 1;
        host.freed.notify_one();
        let before = host.breaker;
        host.set_breaker(before.after(self.is_trial, self.answered, limits));
        let after = host.breaker;
        drop(known);
        if before.state() != after.state() {
            tracing::info!(host = &*self.name, breaker = after.state(), "breaker");
        }
    }
}

#[cfg(test)]
pub(in crate::checks) mod tests;
