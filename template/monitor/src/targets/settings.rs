//! `[monitor]`

use std::time::Duration;

use mainstay::settings::{Check, Reader, Section};
use utoipa::openapi::{OpenApi, RefOr, Schema};

/// `[monitor]`
#[derive(Debug, Clone)]
pub(crate) struct Monitor {
    pub(super) max_targets: u32,
    pub(super) min_interval: Duration,
    pub(super) max_interval: Duration,
    pub(super) default_interval: Duration,
    pub(super) default_timeout: Duration,
}

impl Section for Monitor {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            max_targets: from.value("max_targets"),
            min_interval: from.value("min_interval"),
            max_interval: from.value("max_interval"),
            default_interval: from.value("default_interval"),
            default_timeout: from.value("default_timeout"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.range("monitor.max_targets", self.max_targets, 1..);
        for (key, duration) in [
            ("monitor.min_interval", self.min_interval),
            ("monitor.max_interval", self.max_interval),
            ("monitor.default_interval", self.default_interval),
            ("monitor.default_timeout", self.default_timeout),
        ] {
            check.that(
                duration.subsec_nanos() == 0 && duration.as_secs() > 0,
                &[key],
                "must be whole seconds, and at least one",
            );
        }
        let intervals = self.min_interval..=self.max_interval;
        check.that(
            intervals.contains(&self.default_interval),
            &[
                "monitor.min_interval",
                "monitor.default_interval",
                "monitor.max_interval",
            ],
            "must not be longer, each than the next",
        );
        check.that(
            self.default_timeout <= self.default_interval,
            &["monitor.default_timeout", "monitor.default_interval"],
            "a check must be over before the next one; make the first shorter",
        );
    }
}

/// The limits and defaults of a target, in seconds.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) intervals: [i64; 2],
    pub(super) default_interval: i64,
    pub(super) default_timeout: i64,
}

impl Bounds {
    pub(super) fn of(settings: &Monitor) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self {
            intervals: [settings.min_interval, settings.max_interval].map(seconds),
            default_interval: seconds(settings.default_interval),
            default_timeout: seconds(settings.default_timeout),
        }
    }

    /// Adds the limits of this process to the description.
    pub(super) fn describe(&self, api: &mut OpenApi) {
        let schemas = api.components.iter_mut().flat_map(|it| &mut it.schemas);
        let wanted = schemas.filter(|(name, _)| *name == "WantedTarget");
        for (_, schema) in wanted {
            let RefOr::T(Schema::Object(target)) = schema else {
                continue;
            };
            let [shortest, longest] = self.intervals;
            for (field, shortest, default) in [
                ("interval_seconds", shortest, self.default_interval),
                ("timeout_seconds", 1, self.default_timeout),
            ] {
                if let Some(RefOr::T(Schema::Object(field))) = target.properties.get_mut(field) {
                    field.minimum = Some(shortest.into());
                    field.maximum = Some(longest.into());
                    field.default = Some(default.into());
                }
            }
        }
    }
}
