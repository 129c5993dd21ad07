//! The settings of every service. Sections of parts that it may do without, such as a database, the service adds.

use garde::Validate;
use serde::Deserialize;

use crate::{edge, health, lifecycle, operator, settings, telemetry};

pub(crate) const SETTINGS: &str = include_str!("../config/mainstay.toml");

/// The part of a service's settings that every service has.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(custom(Self::listens_on_two_addresses))]
#[allow(missing_docs, reason = "the keys are described beside their defaults")]
pub struct Settings {
    #[garde(dive)]
    pub http: edge::Http,
    #[garde(dive)]
    pub operator: operator::Settings,
    #[garde(dive)]
    pub log: telemetry::Log,
    #[cfg(feature = "otlp")]
    #[garde(dive)]
    pub(crate) otlp: telemetry::otlp::Otlp,
    #[garde(dive)]
    pub shutdown: lifecycle::Shutdown,
    #[garde(dive)]
    pub(crate) health: health::Settings,
}

impl Settings {
    fn listens_on_two_addresses(&self, &(): &()) -> garde::Result {
        settings::rule(
            self.http.listen != self.operator.listen || self.http.listen.port() == 0,
            &["http.listen", "operator.listen"],
            "must be two addresses",
        )
    }
}

impl AsRef<Self> for Settings {
    fn as_ref(&self) -> &Self {
        self
    }
}
