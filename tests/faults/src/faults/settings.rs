//! `[faults]`: which task and which check misbehave, and how.

use garde::Validate;
use mainstay::Importance;
use serde::Deserialize;

/// `[faults]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(crate) struct Faults {
    pub(crate) task: TaskFault,
    pub(crate) check: CheckFault,
    pub(crate) importance: Importance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TaskFault {
    None,
    /// A critical task fails, from the request for `/fall` on, until it is given up.
    Critical,
    /// The same, but not critical.
    Dispensable,
    /// What the start does before it starts the task fails.
    NotStarted,
    /// What the start does before it starts the task never ends.
    SlowStart,
    /// Ignores its cancellation.
    Deaf,
    /// Two tasks fail while they stop.
    TwoFailing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckFault {
    None,
    Fails,
    Panics,
    /// Never completes.
    Hangs,
    /// Never completes, and blocks a thread of the runtime.
    Blocks,
}
