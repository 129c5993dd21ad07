//! The filter of the log: the one of the settings, or one that the operator has set for a while.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::Layered;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::message;
use crate::settings;

/// The events that are logged, in the syntax of `tracing_subscriber::EnvFilter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Filter(String);

impl Filter {
    /// Parses a filter; `None` if the text is not one.
    #[must_use]
    pub fn written(text: &str) -> Option<Self> {
        // `EnvFilter` takes a bare word for a target: a mistyped level would mute all others.
        let is_rule = |part: &str| part.contains('=') || LevelFilter::from_str(part).is_ok();
        let is_filter = !text.is_empty() && text.split(',').all(is_rule);
        (is_filter && EnvFilter::builder().parse(text).is_ok()).then(|| Self(text.to_owned()))
    }

    /// The layer of this filter. Events that may quote clients pass only if the filter names their targets.
    fn layer(&self) -> FilterLayer {
        // A rule is a target, a span, and a level: `h2::server[span]=debug`.
        let targets = self
            .0
            .split(',')
            .filter_map(|rule| rule.split(['[', '=']).next());
        let named = targets
            .map(str::trim)
            .filter(|target| may_quote_clients(target));
        let named: Vec<_> = named.map(str::to_owned).collect();
        let is_allowed = move |metadata: &Metadata<'_>| {
            let target = metadata.target();
            *metadata.level() <= Level::INFO
                || !may_quote_clients(target)
                || named.iter().any(|named| is_inside(target, named))
        };
        EnvFilter::new(&self.0).and_then(FilterFn::new(Box::new(is_allowed)))
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "levels by target, such as `info` or `info,sqlx=warn`";
        settings::from_text(value, expected, Self::written)
    }
}

type Predicate = Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>;
type FilterLayer = Layered<FilterFn<Predicate>, EnvFilter, Registry>;

/// Changes the filter at runtime. All clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Filtering(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: reload::Handle<FilterLayer, Registry>,
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    configured: Filter,
    /// The filter of the operator, and its end.
    temporary: Option<(Filter, Instant)>,
}

impl State {
    fn in_force(&self) -> &Filter {
        let temporary = self.temporary.as_ref();
        temporary.map_or(&self.configured, |(filter, _)| filter)
    }

    fn ends(&self) -> Option<Instant> {
        self.temporary.as_ref().map(|(_, until)| *until)
    }
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
    /// The layer that filters, and the handle that changes it.
    pub(super) fn new(filter: &Filter) -> (reload::Layer<FilterLayer, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter.layer());
        let state = watch::Sender::new(State {
            configured: filter.clone(),
            temporary: None,
        });
        (layer, Self(Arc::new(Inner { handle, state })))
    }

    /// A filter without effect, for tests.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new(&Filter(String::new())).1
    }

    /// Applies a new filter of the settings, and drops that of the operator.
    pub(crate) fn configure(&self, filter: &Filter) {
        let log = || tracing::info!(message = message::RELOADED, filter = filter.0);
        self.change(log, |state| {
            state.configured = filter.clone();
            state.temporary = None;
            true
        });
    }

    /// Applies a filter of the operator for this time.
    pub(crate) fn change_for(&self, time: Duration, filter: &Filter) {
        let log = || {
            tracing::info!(
                message = message::REFILTERED,
                by = "the operator",
                filter = filter.0,
                "for" = %humantime::format_duration(time)
            );
        };
        self.change(log, |state| {
            state.temporary = Some((filter.clone(), Instant::now() + time));
            true
        });
    }

    pub(crate) fn in_force(&self) -> InForce {
        let state = self.0.state.borrow();
        let seconds_left = |until: Instant| {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up: a filter in force has some time left.
            left.as_millis().div_ceil(1000).try_into().ok()
        };
        InForce {
            filter: state.in_force().clone(),
            configured: state.configured.clone(),
            reverts_in: state.ends().and_then(seconds_left),
        }
    }

    /// Reverts to the filter of the settings whenever the operator's time is over. It never ends.
    pub(crate) async fn revert_in_time(self) {
        let mut changes = self.0.state.subscribe();
        loop {
            let until = changes.borrow_and_update().ends();
            let change = changes.changed();
            match until {
                None => _ = change.await,
                Some(until) if timeout_at(until, change).await.is_err() => self.revert(until),
                Some(_) => {}
            }
        }
    }

    fn revert(&self, until: Instant) {
        let configured = self.0.state.borrow().configured.clone();
        let log = || {
            tracing::info!(
                message = message::REFILTERED,
                by = "the end of its time",
                filter = configured.0
            );
        };
        self.change(log, |state| {
            // The operator may have set another filter meanwhile, with a later end.
            let is_over = state.ends() == Some(until);
            is_over && state.temporary.take().is_some()
        });
    }

    /// Changes the state, and applies and logs the change if there is one. It is logged under the old filter if
    /// that lets it pass, since the new one may not.
    fn change(&self, log: impl Fn(), change: impl FnOnce(&mut State) -> bool) {
        self.0.state.send_if_modified(|state| {
            let is_changed = change(state);
            if is_changed {
                let was_enabled = tracing::enabled!(Level::INFO);
                if was_enabled {
                    log();
                }
                // It fails only when the subscriber is gone.
                _ = self.0.handle.reload(state.in_force().layer());
                if !was_enabled {
                    log();
                }
            }
            is_changed
        });
    }
}

/// Crates whose events below INFO quote clients and URLs: h2 a malformed path with its query, hyper the requested
/// address with its user and password.
const QUOTING_CRATES: [&str; 3] = ["h2", "hyper", "hyper_util"];

fn may_quote_clients(target: &str) -> bool {
    QUOTING_CRATES.iter().any(|name| is_inside(target, name))
}

/// Whether the target is this module, or one inside of it.
fn is_inside(target: &str, module: &str) -> bool {
    let rest = target.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests;
