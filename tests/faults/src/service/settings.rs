//! The settings: the frame's, and what is wrong.

use config::ValueKind;

use crate::frame;
use crate::frame::health::Need;
use crate::frame::settings::{Reader, Section, Setting, one_of};

#[derive(Debug, Clone)]
pub struct Settings {
    pub frame: frame::Settings,
    pub faults: Faults,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            frame: from.part(),
            faults: from.section("faults"),
        }
    }
}

/// `[faults]`
#[derive(Debug, Clone)]
pub struct Faults {
    pub task: TaskFault,
    pub check: CheckFault,
    pub need: Need,
}

impl Section for Faults {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            task: from.value("task"),
            check: from.value("check"),
            need: from.value("need"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskFault {
    None,
    /// A critical one fails, as soon as `/fall` is asked for, until it is given up.
    Critical,
    /// The same, but not critical.
    Dispensable,
    /// Fails before it has started, while the service waits for it.
    NotStarted,
    /// Does not say that it has started, while the service waits for it.
    SlowStart,
    /// Ignores its cancellation.
    Deaf,
    /// Two fail while they stop.
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
pub enum CheckFault {
    None,
    /// Nothing is wrong: it only counts how often it is asked.
    Sound,
    /// Fails every other time.
    Flaky,
    Fails,
    Panics,
    /// Never answers.
    Hangs,
    /// Never answers, and keeps a thread of the runtime for itself.
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
