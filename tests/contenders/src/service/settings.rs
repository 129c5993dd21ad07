//! All the settings of this service: the frame's sections.

use crate::frame::settings::{Check, Reader, Section};
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
        }
    }

    fn check(&self, _: &mut Check<'_>) {}
}
