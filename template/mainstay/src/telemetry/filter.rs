//! The log filter: the one in the settings, or one that the operator has set for a limited time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::{Instant, sleep};
use tracing::Level;
use tracing::field::display;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Registry, reload};

use super::message;
use crate::panics::lock;
use crate::settings;

/// A log filter: the level of each target, in the syntax of `tracing_subscriber::filter::Targets`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Filter {
    text: String,
    #[serde(skip)]
    targets: Targets,
}

impl Filter {
    pub(crate) const SYNTAX: &str =
        "levels by target, such as `info` or `info,sqlx=warn`, without spans in brackets";

    /// Parses a filter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut default_level = LevelFilter::OFF;
        let mut rules = Vec::new();
        for rule in text.split(',') {
            // A word without `=` must be a level. As a target, a misspelt level would disable all other targets.
            let (target, level) = rule.rsplit_once('=').unwrap_or(("", rule));
            let level = Some(level.trim()).filter(|level| !level.is_empty())?;
            let level: LevelFilter = level.parse().ok()?;
            match target.trim() {
                "" => default_level = level,
                target if target.contains(['[', '=']) => return None,
                target => rules.push((target, level)),
            }
        }
        let quoting = QUOTING_CRATES.map(|name| (name, default_level.min(LevelFilter::INFO)));
        let targets = Targets::new().with_default(default_level);
        Some(Self {
            text: text.to_owned(),
            // The last rule for a target wins.
            targets: targets.with_targets(quoting).with_targets(rules),
        })
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        settings::from_text(value, Self::SYNTAX, Self::parse)
    }
}

/// Crates whose events below INFO quote clients and URLs: h2 a malformed path with its query, hyper the requested
/// address with its user and password. Such events pass only if the filter names their targets.
const QUOTING_CRATES: [&str; 3] = ["h2", "hyper", "hyper_util"];

/// Changes the filter at runtime.
#[derive(Debug, Clone)]
pub(crate) struct FilterHandle {
    reload: reload::Handle<Targets, Registry>,
    state: Arc<Mutex<FilterState>>,
}

/// The filter in force and the configured one, as `/api/log-filter` shows them.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FilterState {
    filter: Filter,
    configured: Filter,
    /// When the configured filter comes into force again. Serialized as the seconds until then.
    #[serde(rename = "reverts_in", serialize_with = "seconds_until")]
    reverts_at: Option<Instant>,
}

impl FilterHandle {
    pub(crate) fn new(filter: &Filter) -> (reload::Layer<Targets, Registry>, Self) {
        let (layer, reload) = reload::Layer::new(filter.targets.clone());
        let state = Arc::new(Mutex::new(FilterState {
            filter: filter.clone(),
            configured: filter.clone(),
            reverts_at: None,
        }));
        (layer, Self { reload, state })
    }

    pub(crate) fn state(&self) -> FilterState {
        lock(&self.state).clone()
    }

    /// Applies a new filter from the settings, also if the operator has set one.
    pub(crate) fn configure(&self, filter: &Filter) {
        let mut state = lock(&self.state);
        state.configured = filter.clone();
        self.apply(&mut state, filter, message::RELOADED, None, None);
    }

    /// Applies a filter of the operator, which expires after this time.
    pub(crate) fn set_for(&self, time: Duration, filter: &Filter) {
        let (mut state, by) = (lock(&self.state), Some("the operator"));
        self.apply(&mut state, filter, message::REFILTERED, by, Some(time));
    }

    /// Reverts to the configured filter, within a second after the operator's one expires. Never returns.
    pub(crate) async fn revert_expired(self) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let mut state = lock(&self.state);
            if state.reverts_at.is_some_and(|end| end <= Instant::now()) {
                let (filter, by) = (state.configured.clone(), Some("the end of its time"));
                self.apply(&mut state, &filter, message::REFILTERED, by, None);
            }
        }
    }

    /// Applies a filter, and logs the change: before it if the old filter lets the event pass, otherwise after it.
    fn apply(
        &self,
        state: &mut FilterState,
        filter: &Filter,
        message: &str,
        by: Option<&str>,
        time: Option<Duration>,
    ) {
        state.filter = filter.clone();
        state.reverts_at = time.map(|time| Instant::now() + time);
        let time = time.map(|time| display(humantime::format_duration(time)));
        let log = || tracing::info!(message, by, filter = filter.text, "for" = time);
        let was_enabled = tracing::enabled!(Level::INFO);
        if was_enabled {
            log();
        }
        // It fails only if the subscriber is gone.
        _ = self.reload.reload(filter.targets.clone());
        if !was_enabled {
            log();
        }
    }
}

/// Rounds up: as long as the filter is in force, at least one second is left.
fn seconds_until<S: Serializer>(end: &Option<Instant>, out: S) -> Result<S::Ok, S::Error> {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    left.map(|left| left.as_millis().div_ceil(1000))
        .serialize(out)
}

#[cfg(test)]
mod tests;
