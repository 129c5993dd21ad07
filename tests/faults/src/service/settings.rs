//! The settings: the frame's sections, and what is wrong.

use config::ValueKind;

use crate::frame::settings::{Check, Reader, Section, Setting, one_of};
use crate::frame::{database, edge, health, idempotency, lifecycle, operator, telemetry};

#[derive(Debug, Clone)]
pub struct Settings {
    pub http: edge::Http,
    pub operator: operator::Settings,
    pub log: telemetry::Log,
    pub otlp: telemetry::Otlp,
    pub database: database::Settings,
    pub shutdown: lifecycle::Shutdown,
    pub health: health::Settings,
    pub idempotency: idempotency::Settings,
    pub faults: Faults,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            http: from.section("http"),
            operator: from.section("operator"),
            log: from.section("log"),
            otlp: from.section("otlp"),
            database: from.section("database"),
            shutdown: from.section("shutdown"),
            health: from.section("health"),
            idempotency: from.section("idempotency"),
            faults: from.section("faults"),
        }
    }
}

/// `[faults]`
#[derive(Debug, Clone)]
pub struct Faults {
    pub task: TaskFault,
    pub check: CheckFault,
    pub need: health::Need,
}

impl Section for Faults {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            task: from.value("task"),
            check: from.value("check"),
            need: from.value("need"),
        }
    }

    fn check(&self, _: &mut Check<'_>) {}
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
