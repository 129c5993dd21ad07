//! The hosts that are asked, each with what protects it, and what protects us from it.
//!
//! - No more than `monitor.per_host` checks are made of one host at once, so that a slow one cannot
//!   have all of them.
//! - A host that does not answer is not asked for a while: it costs nothing. Then one check is made of
//!   it, and only if that is answered come the others.
//! - No more than `monitor.max_hosts` are remembered that are not being asked just now: those that were
//!   asked last.

mod breaker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use super::numbers;
use crate::frame::settings::{Check, Reader, Section};
use breaker::{Breaker, Limits};

/// Settings of `[monitor]`.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) per_host: usize,
    pub(super) max_hosts: usize,
    pub(super) breaker_failures: u32,
    pub(super) breaker_pause: Duration,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            per_host: from.value("per_host"),
            max_hosts: from.value("max_hosts"),
            breaker_failures: from.value("breaker_failures"),
            breaker_pause: from.value("breaker_pause"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        for (holds, key) in [
            (self.per_host > 0, "monitor.per_host"),
            (self.max_hosts > 0, "monitor.max_hosts"),
            (self.breaker_failures > 0, "monitor.breaker_failures"),
        ] {
            check.that(holds, &[key], "must be at least 1");
        }
    }
}

/// All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    known: Mutex<HashMap<Name, Host>>,
    settings: Settings,
}

/// As URLs have it, with the port.
type Name = Arc<str>;

#[derive(Debug)]
struct Host {
    breaker: Breaker,
    /// How many checks are being made of it.
    passes: usize,
    last: Instant,
}

/// Why no check is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many as may be are under way: another time.
    Busy,
    /// It does not answer: nobody needs to ask.
    Down,
}

impl Hosts {
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Arc::new(Inner {
            known: Mutex::default(),
            settings: settings.clone(),
        }))
    }

    /// A pass for one check of the host of this URL.
    pub(super) fn pass(&self, url: &Url) -> Result<Pass, Refused> {
        let name: Name = url[url::Position::BeforeHost..url::Position::BeforePath].into();
        let mut known = self.known();
        if !known.contains_key(&name) {
            self.make_room(&mut known);
            numbers::host(Breaker::NEW.state(), 1.0);
            known.insert(Arc::clone(&name), Host::new());
        }
        let host = known.entry(Arc::clone(&name)).or_insert_with(Host::new);
        if host.passes >= self.0.settings.per_host {
            return Err(Refused::Busy);
        }
        let breaker = host.breaker.pass().ok_or(Refused::Down)?;
        host.turn(breaker);
        host.passes += 1;
        host.last = Instant::now();
        Ok(Pass {
            hosts: self.clone(),
            name,
            is_trial: breaker == Breaker::HalfOpen,
            answered: None,
        })
    }

    /// Forgets who was asked longest ago, where there is no room for one more.
    fn make_room(&self, known: &mut HashMap<Name, Host>) {
        while known.len() >= self.0.settings.max_hosts {
            let idle = known.iter().filter(|(_, host)| host.passes == 0);
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
            passes: 0,
            last: Instant::now(),
        }
    }

    fn turn(&mut self, breaker: Breaker) {
        let (before, after) = (self.breaker.state(), breaker.state());
        self.breaker = breaker;
        if before != after {
            numbers::host(before, -1.0);
            numbers::host(after, 1.0);
        }
    }
}

/// One check may be made of a host. Without a word about its end, it never was.
#[derive(Debug)]
#[must_use]
pub(super) struct Pass {
    hosts: Hosts,
    name: Name,
    is_trial: bool,
    answered: Option<bool>,
}

impl Pass {
    /// The check has come to its end, and the host has answered, or has not.
    pub(super) fn end(mut self, answered: bool) {
        self.answered = Some(answered);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let settings = &self.hosts.0.settings;
        let limits = Limits {
            failures: settings.breaker_failures,
            pause: settings.breaker_pause,
        };
        let mut known = self.hosts.known();
        // While it is being asked, a host is not forgotten.
        let Some(host) = known.get_mut(&self.name) else {
            return;
        };
        host.passes -= 1;
        let before = host.breaker;
        host.turn(before.after(self.is_trial, self.answered, limits));
        let after = host.breaker;
        drop(known);
        if before.state() != after.state() {
            tracing::info!(host = &*self.name, breaker = after.state(), "breaker");
        }
    }
}

#[cfg(test)]
pub(in crate::service::checks) mod tests;
