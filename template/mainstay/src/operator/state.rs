//! What the operator's listener shows and changes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::snapshot::{PoolNumbers, Snapshot};
use super::token::Token;
use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::server::{Traffic, Watch};
use crate::settings::Entry;
use crate::supervisor::Supervisor;
use crate::telemetry::Filtering;
use crate::watchdog::Pulse;

/// What the operator sees, and can change.
#[derive(Debug)]
pub struct OperatorState {
    /// The state of the process.
    pub lifecycle: Lifecycle,
    /// The tasks.
    pub supervisor: Supervisor,
    /// Whether the runtime makes progress.
    pub pulse: Pulse,
    /// The probes and the named checks.
    pub health: Health,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The parts of the process that have numbers, once there are any.
    pub observed: Mutex<Vec<Observed>>,
    /// Every setting in force.
    pub settings: Vec<Entry>,
    /// What is logged.
    pub filtering: Filtering,
    /// What is asked for before any of it.
    pub token: Option<Token>,
}

/// A part of the process that has numbers.
pub enum Observed {
    /// A listener for HTTP.
    Listener(Watch),
    /// The connection pools of a database, by name.
    Pools(Box<dyn Fn() -> PoolNumbers + Send + Sync>),
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener(_) => "Listener",
            Self::Pools(_) => "Pools",
        })
    }
}

impl OperatorState {
    /// Shows this part as well.
    pub fn observe(&self, part: Observed) {
        self.parts().push(part);
    }

    /// All metrics, as they are just now.
    #[must_use]
    pub fn metrics_page(&self) -> String {
        let snapshot = Snapshot {
            lifecycle: self.lifecycle.state(),
            http: self.traffic(),
            database: self.pools(),
            tasks: self.supervisor.statuses(),
            checks: self.health.checked(),
            stalls: self.pulse.stalls(),
            stalled_for: self.pulse.stalled_for(),
            lag: self.pulse.lag(),
            refused: self.token.as_ref().map_or(0, Token::refused),
        };
        self.metrics.text(|text| snapshot.write(text))
    }

    /// The addresses of the service's listeners.
    #[must_use]
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let parts = self.parts();
        let addresses = parts.iter().filter_map(|part| match part {
            Observed::Listener(watch) => Some(watch.address()),
            Observed::Pools(_) => None,
        });
        addresses.collect()
    }

    /// What goes on at all of the service's listeners together.
    pub(super) fn traffic(&self) -> Option<Traffic> {
        let parts = self.parts();
        let traffic = parts.iter().filter_map(|part| match part {
            Observed::Listener(watch) => Some(watch.numbers()),
            Observed::Pools(_) => None,
        });
        traffic.reduce(|all, one| all.add(&one))
    }

    pub(super) fn pools(&self) -> Option<PoolNumbers> {
        let parts = self.parts();
        let pools = parts.iter().filter_map(|part| match part {
            Observed::Pools(numbers) => Some(numbers()),
            Observed::Listener(_) => None,
        });
        pools.reduce(|mut all, one| {
            all.extend(one);
            all
        })
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Observed>> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
