//! The settings of every service. Each section is declared beside the code that it configures. Sections of parts
//! that a service may do without, such as a database, are added by the service.

use crate::settings::{Check, Reader, Section};
use crate::telemetry::Export;
#[cfg(feature = "otlp")]
use crate::telemetry::otlp::Otlp;
use crate::{edge, health, lifecycle, operator, telemetry};

/// These settings with their defaults.
pub(crate) const SETTINGS: &str = include_str!("../config/mainstay.toml");

/// The settings of every service: the part of a service's own settings that this crate reads.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[http]`
    pub http: edge::Http,
    /// `[operator]`
    pub operator: operator::Settings,
    /// `[log]`
    pub log: telemetry::Log,
    /// `[otlp]`
    #[cfg(feature = "otlp")]
    pub(crate) otlp: Otlp,
    /// `[shutdown]`
    pub shutdown: lifecycle::Shutdown,
    /// `[health]`
    pub(crate) health: health::Settings,
}

impl Settings {
    /// The export of traces to the collector that the settings name.
    #[cfg(feature = "otlp")]
    pub(crate) fn export(&self) -> Export {
        Export::new(&self.otlp)
    }

    /// Without the feature `otlp`, there is no export.
    #[cfg(not(feature = "otlp"))]
    #[expect(clippy::unused_self, reason = "the signature of the feature `otlp`")]
    pub(crate) fn export(&self) -> Export {
        Export::default()
    }
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            http: from.section("http"),
            operator: from.section("operator"),
            log: from.section("log"),
            #[cfg(feature = "otlp")]
            otlp: from.section("otlp"),
            shutdown: from.section("shutdown"),
            health: from.section("health"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.http.listen != self.operator.listen || self.http.listen.port() == 0,
            &["http.listen", "operator.listen"],
            "must be two addresses",
        );
    }
}

impl AsRef<Self> for Settings {
    fn as_ref(&self) -> &Self {
        self
    }
}
