//! The machinery's own settings: all of its sections, each of which is declared beside what it
//! configures. A database and idempotency keys have sections of their own, which a service names.

use crate::settings::{Check, Reader, Section};
use crate::telemetry::Export;
#[cfg(feature = "otlp")]
use crate::telemetry::otlp::Otlp;
use crate::{edge, health, lifecycle, operator, telemetry};

/// The reference of these settings, for [`Service::settings`](crate::Service::settings).
pub const SETTINGS: &str = include_str!("../config/mainstay.toml");

/// The settings of every service.
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
    pub otlp: Otlp,
    /// `[shutdown]`
    pub shutdown: lifecycle::Shutdown,
    /// `[health]`
    pub health: health::Settings,
}

impl Settings {
    /// What exports traces and metrics to the collector that the settings name.
    #[cfg(feature = "otlp")]
    pub(crate) fn export(&self) -> Export {
        Export::to(&self.otlp)
    }

    /// Without the feature `otlp`, there is no export.
    #[cfg(not(feature = "otlp"))]
    #[expect(clippy::unused_self, reason = "the signature of the feature `otlp`")]
    pub(crate) fn export(&self) -> Export {
        Export
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
