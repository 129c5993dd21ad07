//! All the settings of this service: the frame's sections, and your own beside them.

use crate::frame::settings::{Check, Reader, Section};
use crate::frame::{database, edge, health, idempotency, lifecycle, operator, telemetry};

use super::checks;
use super::targets::Monitor;

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
    pub monitor: Monitor,
    pub checks: checks::Settings,
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
            monitor: from.section("monitor"),
            checks: from.section("monitor"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.http.listen != self.operator.listen || self.http.listen.port() == 0,
            &["http.listen", "operator.listen"],
            "must be two addresses",
        );
        check.that(
            self.database.acquire_timeout < self.http.request_timeout,
            &["database.acquire_timeout", "http.request_timeout"],
            "a request must not run out of time while it waits for a connection; \
             make the first shorter than the second",
        );
    }
}
