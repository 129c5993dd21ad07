//! The filter of the log: the one of the settings, or one that the operator has set for a while.

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

/// The events that are logged: levels by target, in the syntax of `tracing_subscriber::filter::Targets`.
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
    pub fn written(text: &str) -> Option<Self> {
        let mut most = LevelFilter::OFF;
        let mut named = Vec::new();
        for rule in text.split(',') {
            // A bare word is a level: as a target, a mistyped level would mute all others.
            let (target, level) = rule.rsplit_once('=').unwrap_or(("", rule));
            let level = Some(level.trim()).filter(|level| !level.is_empty())?;
            let level: LevelFilter = level.parse().ok()?;
            match target.trim() {
                "" => most = level,
                target if target.contains(['[', '=']) => return None,
                target => named.push((target, level)),
            }
        }
        let quoting = QUOTING_CRATES.map(|name| (name, most.min(LevelFilter::INFO)));
        let targets = Targets::new().with_default(most);
        Some(Self {
            text: text.to_owned(),
            // Of two rules for one target, the later counts.
            targets: targets.with_targets(quoting).with_targets(named),
        })
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        settings::from_text(value, Self::SYNTAX, Self::written)
    }
}

/// Crates whose events below INFO quote clients and URLs: h2 a malformed path with its query, hyper the requested
/// address with its user and password. Such events pass only if the filter names their targets.
const QUOTING_CRATES: [&str; 3] = ["h2", "hyper", "hyper_util"];

/// Changes the filter at runtime.
#[derive(Debug, Clone)]
pub(crate) struct Filtering {
    handle: reload::Handle<Targets, Registry>,
    state: Arc<Mutex<InForce>>,
}

/// The filter in force, as the operator sees it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InForce {
    filter: Filter,
    configured: Filter,
    /// When the filter of the settings is in force again, shown as the seconds until then.
    #[serde(rename = "reverts_in", serialize_with = "seconds_until")]
    reverts_at: Option<Instant>,
}

impl Filtering {
    pub(crate) fn new(filter: &Filter) -> (reload::Layer<Targets, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter.targets.clone());
        let state = Arc::new(Mutex::new(InForce {
            filter: filter.clone(),
            configured: filter.clone(),
            reverts_at: None,
        }));
        (layer, Self { handle, state })
    }

    pub(crate) fn in_force(&self) -> InForce {
        lock(&self.state).clone()
    }

    /// Applies a new filter of the settings, and drops that of the operator.
    pub(crate) fn configure(&self, filter: &Filter) {
        let mut state = lock(&self.state);
        state.configured = filter.clone();
        self.apply(&mut state, filter, message::RELOADED, None, None);
    }

    /// Applies a filter of the operator for this time.
    pub(crate) fn change_for(&self, time: Duration, filter: &Filter) {
        let (mut state, by) = (lock(&self.state), Some("the operator"));
        self.apply(&mut state, filter, message::REFILTERED, by, Some(time));
    }

    /// Reverts to the filter of the settings within a second of the end of the operator's time. It never ends.
    pub(crate) async fn revert_in_time(self) {
        loop {
            sleep(Duration::from_secs(1)).await;
            let mut state = lock(&self.state);
            if state.reverts_at.is_some_and(|end| end <= Instant::now()) {
                let (filter, by) = (state.configured.clone(), Some("the end of its time"));
                self.apply(&mut state, &filter, message::REFILTERED, by, None);
            }
        }
    }

    /// Applies a filter, and logs it: under the old filter if that lets the event pass, since the new one may not.
    fn apply(
        &self,
        state: &mut InForce,
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
        // It fails only when the subscriber is gone.
        _ = self.handle.reload(filter.targets.clone());
        if !was_enabled {
            log();
        }
    }
}

/// Rounded up: a filter in force has some time left.
fn seconds_until<S: Serializer>(end: &Option<Instant>, out: S) -> Result<S::Ok, S::Error> {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()));
    left.map(|left| left.as_millis().div_ceil(1000))
        .serialize(out)
}

#[cfg(test)]
mod tests;
