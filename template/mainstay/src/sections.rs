//! The settings of every service. Each section is declared beside the code that it configures. Sections of parts
//! that a service may do without, such as a database, are added by the service.

use garde::Validate;
use serde::Deserialize;

use crate::settings;
#[cfg(feature = "otlp")]
use crate::telemetry::otlp::Otlp;
use crate::{edge, health, lifecycle, operator, telemetry};

/// These settings with their defaults.
pub(crate) const SETTINGS: &str = include_str!("../config/mainstay.toml");

/// The settings of every service: the part of a service's own settings that this crate reads.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(custom(Self::listens_on_two_addresses))]
pub struct Settings {
    /// `[http]`
    #[garde(dive)]
    pub http: edge::Http,
    /// `[operator]`
    #[garde(dive)]
    pub operator: operator::Settings,
    /// `[log]`
    #[garde(dive)]
    pub log: telemetry::Log,
    /// `[otlp]`
    #[cfg(feature = "otlp")]
    #[garde(dive)]
    pub(crate) otlp: Otlp,
    /// `[shutdown]`
    #[garde(dive)]
    pub shutdown: lifecycle::Shutdown,
    /// `[health]`
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
