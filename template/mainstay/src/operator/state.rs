//! What the operator's listener shows and changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::token::Token;
use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::metrics::pools::Numbers;
use crate::server::{Traffic, Watch};
use crate::settings::Entry;
use crate::supervisor::Supervisor;
use crate::telemetry::Filtering;
use crate::watchdog::Pulse;

/// The connection pools of a database, by name.
pub(crate) type PoolNumbers = BTreeMap<String, Numbers>;

/// What the operator's listener shows and changes.
#[derive(Debug)]
pub(crate) struct OperatorState {
    pub(crate) lifecycle: Lifecycle,
    pub(crate) supervisor: Supervisor,
    pub(crate) pulse: Pulse,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    /// The components that are registered so far.
    pub(crate) observed: Mutex<Vec<Observed>>,
    /// Every setting in force.
    pub(crate) settings: Vec<Entry>,
    pub(crate) filtering: Filtering,
    pub(crate) token: Option<Token>,
}

/// The numbers of a component, for the operator: those of a [`Listener`](crate::server::Listener) or a
/// `Database`. A component that wraps one of them passes them on.
#[derive(Default)]
pub struct Observed {
    listener: Option<Watch>,
    pools: Option<Box<dyn Fn() -> PoolNumbers + Send + Sync>>,
}

impl Observed {
    pub(crate) fn listener(watch: Watch) -> Self {
        Self {
            listener: Some(watch),
            pools: None,
        }
    }

    #[cfg(any(feature = "_database", test))]
    pub(crate) fn pools(numbers: impl Fn() -> PoolNumbers + Send + Sync + 'static) -> Self {
        Self {
            listener: None,
            pools: Some(Box::new(numbers)),
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl OperatorState {
    /// Shows this component from now on.
    pub(crate) fn observe(&self, component: Observed) {
        self.components().push(component);
    }

    /// The traffic of all listeners of the service together.
    pub(super) fn traffic(&self) -> Option<Traffic> {
        let components = self.components();
        let listeners = components.iter().filter_map(|it| it.listener.as_ref());
        let traffic = listeners.map(Watch::numbers);
        traffic.reduce(|all, one| all.add(&one))
    }

    /// The connection pools of all databases.
    pub(super) fn pools(&self) -> Option<PoolNumbers> {
        let components = self.components();
        let databases = components.iter().filter_map(|it| it.pools.as_ref());
        let pools = databases.map(|numbers| numbers());
        pools.reduce(|mut all, one| {
            all.extend(one);
            all
        })
    }

    fn components(&self) -> MutexGuard<'_, Vec<Observed>> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
