//! The filter of the log: the one of the settings, or one that the operator has set for a while.

use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::{Instant, sleep};
use tracing::Level;
use tracing::field::display;
use tracing_subscriber::filter::{LevelFilter, Targets};
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
        let filter = EnvFilter::new(&self.0);
        let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
        // A rule is a target, a span, and a level: `h2::server[span]=debug`.
        let named = self
            .0
            .split(',')
            .filter_map(|rule| rule.split(['[', '=']).next());
        let targets = Targets::new()
            .with_default(most)
            .with_targets(QUOTING_CRATES.map(|name| (name, most.min(LevelFilter::INFO))))
            .with_targets(named.map(|target| (target.trim(), most)));
        filter.and_then(targets)
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "levels by target, such as `info` or `info,sqlx=warn`";
        settings::from_text(value, expected, Self::written)
    }
}

type FilterLayer = Layered<Targets, EnvFilter, Registry>;

/// Changes the filter at runtime. All clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Filtering {
    handle: reload::Handle<FilterLayer, Registry>,
    state: Arc<Mutex<State>>,
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
    pub(crate) fn new(filter: &Filter) -> (reload::Layer<FilterLayer, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter.layer());
        let state = Arc::new(Mutex::new(State {
            configured: filter.clone(),
            temporary: None,
        }));
        (layer, Self { handle, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a new filter of the settings, and drops that of the operator.
    pub(crate) fn configure(&self, filter: &Filter) {
        let mut state = self.state();
        state.configured = filter.clone();
        state.temporary = None;
        self.apply(&state, message::RELOADED, None, None);
    }

    /// Applies a filter of the operator for this time.
    pub(crate) fn change_for(&self, time: Duration, filter: &Filter) {
        let mut state = self.state();
        state.temporary = Some((filter.clone(), Instant::now() + time));
        self.apply(
            &state,
            message::REFILTERED,
            Some("the operator"),
            Some(time),
        );
    }

    pub(crate) fn in_force(&self) -> InForce {
        let state = self.state();
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

    /// Reverts to the filter of the settings within a second of the end of the operator's time. It never ends.
    pub(crate) async fn revert_in_time(self) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let mut state = self.state();
            let is_over = |temporary: &mut (_, Instant)| temporary.1 <= Instant::now();
            if state.temporary.take_if(is_over).is_some() {
                self.apply(
                    &state,
                    message::REFILTERED,
                    Some("the end of its time"),
                    None,
                );
            }
        }
    }

    /// Applies the filter in force, and logs it: under the old filter if that lets the event pass, since the new one
    /// may not.
    fn apply(&self, state: &State, message: &str, by: Option<&str>, time: Option<Duration>) {
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
    }
}

/// Crates whose events below INFO quote clients and URLs: h2 a malformed path with its query, hyper the requested
/// address with its user and password.
const QUOTING_CRATES: [&str; 3] = ["h2", "hyper", "hyper_util"];

#[cfg(test)]
mod tests;
