//! `[faults]`: which task and which check misbehave, and how.

use mainstay::Importance;
use mainstay::settings::{Reader, Section, Setting, ValueKind, one_of};

/// `[faults]`
#[derive(Debug, Clone)]
pub(crate) struct Faults {
    pub(crate) task: TaskFault,
    pub(crate) check: CheckFault,
    pub(crate) importance: Importance,
}

impl Section for Faults {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            task: from.value("task"),
            check: from.value("check"),
            importance: from.value("importance"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskFault {
    None,
    /// A critical task fails, from the request for `/fall` on, until it is given up.
    Critical,
    /// The same, but not critical.
    Dispensable,
    /// Fails before it has started, while the service waits for it.
    NotStarted,
    /// Never reports that it has started, while the service waits for it.
    SlowStart,
    /// Ignores its cancellation.
    Deaf,
    /// Two tasks fail while they stop.
    TwoFailing,
}

impl Setting for TaskFault {
    const EXPECTED: &'static str = "a fault of a task";

    fn parse(value: &ValueKind) -> Option<Self> {
        one_of(
            value,
            &[
                ("none", Self::None),
                ("critical", Self::Critical),
                ("dispensable", Self::Dispensable),
                ("not_started", Self::NotStarted),
                ("slow_start", Self::SlowStart),
                ("deaf", Self::Deaf),
                ("two_failing", Self::TwoFailing),
            ],
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckFault {
    None,
    /// Never fails: it only counts its calls.
    Sound,
    /// Fails every other time.
    Flaky,
    Fails,
    Panics,
    /// Never completes.
    Hangs,
    /// Never completes, and blocks a thread of the runtime.
    Blocks,
}

impl Setting for CheckFault {
    const EXPECTED: &'static str = "a fault of a check";

    fn parse(value: &ValueKind) -> Option<Self> {
        one_of(
            value,
            &[
                ("none", Self::None),
                ("sound", Self::Sound),
                ("flaky", Self::Flaky),
                ("fails", Self::Fails),
                ("panics", Self::Panics),
                ("hangs", Self::Hangs),
                ("blocks", Self::Blocks),
            ],
        )
    }
}
