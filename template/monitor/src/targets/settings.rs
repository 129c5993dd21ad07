//! `[monitor]`

use std::time::Duration;

use garde::Validate;
use mainstay::settings;
use serde::Deserialize;
use utoipa::openapi::{OpenApi, RefOr, Schema};

/// `[monitor]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(custom(Self::has_ordered_intervals))]
#[garde(custom(Self::ends_checks_in_time))]
pub(crate) struct Monitor {
    #[garde(range(min = 1))]
    pub(super) max_targets: u32,
    #[garde(custom(is_whole_seconds))]
    pub(super) min_interval: Duration,
    #[garde(custom(is_whole_seconds))]
    pub(super) max_interval: Duration,
    #[garde(custom(is_whole_seconds))]
    pub(super) default_interval: Duration,
    #[garde(custom(is_whole_seconds))]
    pub(super) default_timeout: Duration,
}

fn is_whole_seconds(time: &Duration, &(): &()) -> garde::Result {
    let is_whole = time.subsec_nanos() == 0 && time.as_secs() > 0;
    settings::rule(is_whole, &[], "must be whole seconds, and at least one")
}

impl Monitor {
    fn has_ordered_intervals(&self, &(): &()) -> garde::Result {
        settings::rule(
            (self.min_interval..=self.max_interval).contains(&self.default_interval),
            &["min_interval", "default_interval", "max_interval"],
            "must not be longer, each than the next",
        )
    }

    fn ends_checks_in_time(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.default_timeout <= self.default_interval,
            &["default_timeout", "default_interval"],
            "a check must be over before the next one; make the first shorter",
        )
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
