//! The filter of the log: the one of the settings, or one that the operator has set for a while.
//! [`Discretion`] keeps events that quote clients out of the log, unless the filter names their targets.

mod discretion;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use config::ValueKind;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::Layered;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::message;
use crate::settings::Setting;
use discretion::Discretion;

/// The events that are logged, in the syntax of `tracing_subscriber::EnvFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter(String);

impl Filter {
    /// Parses a filter; `None` if the text is not one.
    #[must_use]
    pub fn written(text: &str) -> Option<Self> {
        // A bare word is taken for a target, and a mistyped level for one that mutes all others.
        let meant = |part: &str| part.contains('=') || LevelFilter::from_str(part).is_ok();
        let whole = !text.is_empty() && text.split(',').all(meant);
        (whole && EnvFilter::builder().parse(text).is_ok()).then(|| Self(text.to_owned()))
    }

    fn rules(&self) -> Rules {
        EnvFilter::new(&self.0).and_then(Discretion::but_for(&self.0))
    }
}

/// What a filter lets through, and all of that.
type Rules = Layered<Discretion, EnvFilter, Registry>;

impl Setting for Filter {
    const EXPECTED: &'static str = "levels by target, such as `info` or `info,sqlx=warn`";

    fn parse(value: &ValueKind) -> Option<Self> {
        Self::written(&String::parse(value)?)
    }
}

/// Changes the filter at runtime. All clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Filtering(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: reload::Handle<Rules, Registry>,
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    configured: Filter,
    temporary: Option<Temporary>,
}

#[derive(Debug)]
struct Temporary {
    filter: Filter,
    until: Instant,
}

/// The filter in force, as the operator sees it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InForce {
    pub(crate) filter: Filter,
    /// The filter of the settings.
    pub(crate) configured: Filter,
    /// The seconds until the filter of the settings is in force again.
    pub(crate) reverts_in: Option<u64>,
}

impl Filtering {
    /// The layer that filters, and how to change it.
    pub(super) fn by(filter: &Filter) -> (reload::Layer<Rules, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter.rules());
        let state = watch::Sender::new(State {
            configured: filter.clone(),
            temporary: None,
        });
        (layer, Self(Arc::new(Inner { handle, state })))
    }

    /// A filter without effect, for tests.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::by(&Filter(String::new())).1
    }

    /// Applies a new filter of the settings, and drops that of the operator.
    pub(crate) fn configure(&self, filter: &Filter) {
        let next = |state: &mut State| {
            state.configured = filter.clone();
            state.temporary = None;
            true
        };
        let tell = || tracing::info!(message = message::RELOADED, filter = filter.0);
        self.change(next, tell);
    }

    /// Applies a filter of the operator for this time.
    pub(crate) fn change_for(&self, time: Duration, filter: &Filter) {
        let next = |state: &mut State| {
            state.temporary = Some(Temporary {
                filter: filter.clone(),
                until: Instant::now() + time,
            });
            true
        };
        let tell = || {
            tracing::info!(
                message = message::REFILTERED,
                by = "the operator",
                filter = filter.0,
                "for" = %humantime::format_duration(time)
            );
        };
        self.change(next, tell);
    }

    pub(crate) fn in_force(&self) -> InForce {
        let state = self.0.state.borrow();
        let left = |temporary: &Temporary| {
            let left = temporary.until.saturating_duration_since(Instant::now());
            // Rounded up: while it is in force, there is some time left.
            left.as_millis().div_ceil(1000).try_into()
        };
        InForce {
            filter: state.in_force().clone(),
            configured: state.configured.clone(),
            reverts_in: state.temporary.as_ref().and_then(|it| left(it).ok()),
        }
    }

    /// Lets what the settings say be in force again whenever the operator's time is over. It never
    /// ends.
    pub(crate) async fn revert_in_time(self) {
        let mut changes = self.0.state.subscribe();
        loop {
            let until = changes.borrow_and_update().ends();
            let another = changes.changed();
            match until {
                None => _ = another.await,
                Some(until) if timeout_at(until, another).await.is_err() => self.revert(until),
                Some(_) => {}
            }
        }
    }

    fn revert(&self, until: Instant) {
        let configured = self.0.state.borrow().configured.clone();
        // There may be another one by now, with more time.
        let next = |state: &mut State| {
            let over = state.ends() == Some(until);
            over && state.temporary.take().is_some()
        };
        let tell = || {
            tracing::info!(
                message = message::REFILTERED,
                by = "the end of its time",
                filter = configured.0
            );
        };
        self.change(next, tell);
    }

    /// Changes what is in force, if there is a change, and tells of it: before it, where that is
    /// logged, since a change for less might hide it.
    fn change(&self, next: impl FnOnce(&mut State) -> bool, tell: impl Fn()) {
        self.0.state.send_if_modified(|state| {
            let changed = next(state);
            if changed {
                let visible = tracing::enabled!(Level::INFO);
                if visible {
                    tell();
                }
                // It fails only when nothing is logged any more.
                _ = self.0.handle.reload(state.in_force().rules());
                if !visible {
                    tell();
                }
            }
            changed
        });
    }
}

impl State {
    fn in_force(&self) -> &Filter {
        let temporary = self.temporary.as_ref();
        temporary.map_or(&self.configured, |temporary| &temporary.filter)
    }

    fn ends(&self) -> Option<Instant> {
        self.temporary.as_ref().map(|temporary| temporary.until)
    }
}

#[cfg(test)]
mod tests;
