//! The hosts that are asked, each with what protects it, and what protects us from it.
//!
//! - No more than `monitor.per_host` checks are made of one host at once, so that a slow one cannot
//!   have all of them (a bulkhead). A check that is due is [refused](Hosts::pass) when there are as many, and one that
//!   somebody waits for [waits](Hosts::wait).
//! - Those who wait, however many, do not keep out what is due: where such a check was refused, a place is
//!   kept for it until it comes again.
//! - A host that does not answer is not asked for a while: it costs nothing. Then one check is made of
//!   it, and only if that is answered come the others (a circuit breaker).
//! - No more than `monitor.max_hosts` are remembered that nobody asks just now, or waits to: those that were
//!   asked last.
//!
//! Places are counted in checks: a second attempt beside the first takes none, and nor does what a redirect leads to.

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

/// What the host of this URL is known by.
pub(super) fn name(url: &Url) -> &str {
    &url[url::Position::BeforeHost..url::Position::BeforePath]
}

/// For how long a place is kept for a check that was refused. It is put off for less.
const KEPT: Duration = Duration::from_secs(5);

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
    /// One place is for whoever was refused, until then.
    kept: Option<Instant>,
    /// One of those who wait is told that there may be a place.
    freed: Arc<Notify>,
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

    /// A pass for one check of the host of this URL, which was due.
    pub(super) fn pass(&self, url: &Url) -> Result<Pass, Refused> {
        self.look(url, |host| {
            let passed = host.pass(self.0.settings.per_host);
            host.kept = match passed {
                Err(Refused::Busy) => Some(Instant::now() + KEPT),
                Ok(_) | Err(Refused::Down) => None,
            };
            passed
        })
    }

    /// The same for a check that somebody waits for: a pass once there is a place, or none if the host is
    /// down.
    pub(super) async fn wait(&self, url: &Url) -> Option<Pass> {
        let mut turn = Turn(None);
        loop {
            let mut kept = None;
            let passed = self.look(url, |host| {
                kept = host.kept.filter(|until| *until > Instant::now());
                let most = self.0.settings.per_host;
                let passed = host.pass(most - usize::from(kept.is_some()));
                // Whoever takes the last place tells nobody: the end of a pass does.
                let is_last = passed.is_ok() && host.passes >= most;
                turn.0 = (!is_last).then(|| Arc::clone(&host.freed));
                passed
            });
            match passed {
                Ok(pass) => return Some(pass),
                Err(Refused::Down) => return None,
                Err(Refused::Busy) => turn.wait(kept).await,
            }
        }
    }

    /// A pass, if the host of this URL gives one.
    fn look(
        &self,
        url: &Url,
        at: impl FnOnce(&mut Host) -> Result<bool, Refused>,
    ) -> Result<Pass, Refused> {
        let name: Name = name(url).into();
        let mut known = self.known();
        if !known.contains_key(&name) {
            self.make_room(&mut known);
            numbers::host(Breaker::NEW.state(), 1.0);
            known.insert(Arc::clone(&name), Host::new());
        }
        let host = known.entry(Arc::clone(&name)).or_insert_with(Host::new);
        let is_trial = at(host)?;
        Ok(Pass {
            hosts: self.clone(),
            name,
            is_trial,
            answered: None,
        })
    }

    /// Forgets who was asked longest ago, where there is no room for one more.
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
            passes: 0,
            last: Instant::now(),
            kept: None,
            freed: Arc::default(),
        }
    }

    /// Lets one more through, if there are fewer than so many, and says whether it is the one that tries
    /// whether the host is there again.
    fn pass(&mut self, most: usize) -> Result<bool, Refused> {
        let breaker = self.breaker.pass().ok_or(Refused::Down)?;
        if self.passes >= most {
            return Err(Refused::Busy);
        }
        self.turn(breaker);
        self.passes += 1;
        self.last = Instant::now();
        Ok(breaker == Breaker::HalfOpen)
    }

    /// Whether nobody asks it, or waits to.
    fn is_idle(&self) -> bool {
        self.passes == 0 && Arc::strong_count(&self.freed) == 1
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

/// One who waits for a place at a host. Whoever ends that, with a place or without, tells the next, unless it was
/// the last place: there may be another one, or none for anybody.
struct Turn(Option<Arc<Notify>>);

impl Turn {
    /// Waits until there may be a place: because one is free, or no longer kept for somebody else.
    async fn wait(&self, kept: Option<Instant>) {
        let Some(freed) = &self.0 else { return };
        let Some(kept) = kept else {
            return freed.notified().await;
        };
        tokio::select! {
            () = freed.notified() => {}
            () = sleep_until(kept) => {}
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(freed) = &self.0 {
            freed.notify_one();
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
        host.freed.notify_one();
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
pub(in crate::checks) mod tests;
