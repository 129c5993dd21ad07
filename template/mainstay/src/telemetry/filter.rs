//! The filter of the log: the one of the settings, or one that the operator has set for a while.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::field::display;
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
        let rules = self.0.split(',');
        let named = rules.filter_map(|rule| rule.split(['[', '=']).next());
        let named: Vec<_> = named.map(|target| target.trim().to_owned()).collect();
        let is_allowed = move |metadata: &Metadata<'_>| {
            let target = metadata.target();
            *metadata.level() <= Level::INFO
                || !QUOTING_CRATES.iter().any(|name| is_inside(target, name))
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

type IsAllowed = Box<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>;
type FilterLayer = Layered<FilterFn<IsAllowed>, EnvFilter, Registry>;

/// Changes the filter at runtime. All clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Filtering {
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
}

/// The filter in force, as the operator sees it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct InForce {
    pub(crate) filter: Filter,
    pub(crate) configured: Filter,
    /// The seconds until the filter of the settings is in force again.
    pub(crate) reverts_in: Option<u64>,
}

impl Filtering {
    pub(super) fn new(filter: &Filter) -> (reload::Layer<FilterLayer, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter.layer());
        let state = watch::Sender::new(State {
            configured: filter.clone(),
            temporary: None,
        });
        (layer, Self { handle, state })
    }

    /// A filter without effect, for tests.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self::new(&Filter(String::new())).1
    }

    /// Applies a new filter of the settings, and drops that of the operator.
    pub(crate) fn configure(&self, filter: &Filter) {
        self.change(message::RELOADED, None, None, |state| {
            state.configured = filter.clone();
            state.temporary = None;
            true
        });
    }

    /// Applies a filter of the operator for this time.
    pub(crate) fn change_for(&self, time: Duration, filter: &Filter) {
        let by = Some("the operator");
        self.change(message::REFILTERED, by, Some(time), |state| {
            state.temporary = Some((filter.clone(), Instant::now() + time));
            true
        });
    }

    pub(crate) fn in_force(&self) -> InForce {
        let state = self.state.borrow();
        let seconds_left = |(_, end): &(_, Instant)| {
            let left = end.saturating_duration_since(Instant::now());
            // Rounded up: a filter in force has some time left.
            left.as_millis().div_ceil(1000).try_into().ok()
        };
        InForce {
            filter: state.in_force().clone(),
            configured: state.configured.clone(),
            reverts_in: state.temporary.as_ref().and_then(seconds_left),
        }
    }

    /// Reverts to the filter of the settings whenever the operator's time is over. It never ends.
    pub(crate) async fn revert_in_time(self) {
        let mut changes = self.state.subscribe();
        loop {
            let end = changes
                .borrow_and_update()
                .temporary
                .as_ref()
                .map(|it| it.1);
            let change = changes.changed();
            match end {
                None => _ = change.await,
                Some(end) if timeout_at(end, change).await.is_err() => self.revert(),
                Some(_) => {}
            }
        }
    }

    fn revert(&self) {
        let by = Some("the end of its time");
        // The operator may have set another filter meanwhile, with a later end.
        let is_over = |temporary: &mut (_, Instant)| temporary.1 <= Instant::now();
        self.change(message::REFILTERED, by, None, |state| {
            state.temporary.take_if(is_over).is_some()
        });
    }

    /// Changes the state, and applies and logs the change if there is one. It is logged under the old filter if
    /// that lets it pass, since the new one may not.
    fn change(
        &self,
        message: &str,
        by: Option<&str>,
        time: Option<Duration>,
        change: impl FnOnce(&mut State) -> bool,
    ) {
        self.state.send_if_modified(|state| {
            if !change(state) {
                return false;
            }
            let Filter(filter) = state.in_force();
            let time = time.map(|time| display(humantime::format_duration(time)));
            let log = || tracing::info!(message, by, filter, "for" = time);
            let was_enabled = tracing::enabled!(Level::INFO);
            if was_enabled {
                log();
            }
            // It fails only when the subscriber is gone.
            _ = self.handle.reload(state.in_force().layer());
            if !was_enabled {
                log();
            }
            true
        });
    }
}

/// Crates whose events below INFO quote clients and URLs: h2 a malformed path with its query, hyper the requested
/// address with its user and password.
const QUOTING_CRATES: [&str; 3] = ["h2", "hyper", "hyper_util"];

/// Whether the target is this module, or one inside of it.
fn is_inside(target: &str, module: &str) -> bool {
    let rest = target.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests;
