//! The three probes, for whoever decides about the life of this process.
//!
//! - `/livez`: the process makes progress. It stays 200 while draining, and never asks anything
//!   outside of the process.
//! - `/readyz`: requests are welcome, and every critical task runs.
//! - `/startupz`: the start is complete; from then on, always.
//!
//! The database is asked in the background, never by a probe: however many probes come, it is
//! asked once a period. By default a database that fails does not make the service unready, since
//! taking every replica out at once helps nobody.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use config::ValueKind;

use super::database::Database;
use super::lifecycle::{Lifecycle, State};
use super::settings::{self, Check, Reader, Section, Setting};
use super::supervisor::{Refused, Supervisor};

/// `[health]`
#[derive(Debug, Clone)]
pub struct Settings {
    pub database: Need,
    pub period: Duration,
    pub timeout: Duration,
}

/// What a failing dependency means for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Ready all the same.
    Degraded,
    /// Not ready.
    Required,
}

impl Setting for Need {
    const EXPECTED: &'static str = "`degraded` or `required`";

    fn parse(value: &ValueKind) -> Option<Self> {
        settings::one_of(
            value,
            &[("degraded", Self::Degraded), ("required", Self::Required)],
        )
    }
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            database: from.value("database"),
            period: from.value("period"),
            timeout: from.value("timeout"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            !self.timeout.is_zero(),
            &["health.timeout"],
            "must be longer than nothing",
        );
        check.that(
            !self.period.is_zero(),
            &["health.period"],
            "must be longer than nothing",
        );
    }
}

/// Failures in a row before a check is believed to fail; one success is enough to recover.
const FAILURES: u32 = 3;

/// What is known about this process.
#[derive(Debug, Clone)]
pub struct Health {
    settings: Settings,
    lifecycle: Lifecycle,
    supervisor: Supervisor,
    database: Arc<AtomicBool>,
}

impl Health {
    #[must_use]
    pub fn new(settings: &Settings, lifecycle: Lifecycle, supervisor: Supervisor) -> Self {
        Self {
            settings: settings.clone(),
            lifecycle,
            supervisor,
            database: Arc::new(true.into()),
        }
    }

    /// Begins to ask the database once a period.
    ///
    /// # Errors
    ///
    /// When the stop has begun already.
    pub fn watch(&self, database: &Database) -> Result<(), Refused> {
        let (health, database) = (self.clone(), database.clone());
        let failures = Arc::new(AtomicU32::new(0));
        let probe = move |_| {
            let (health, database, failures) =
                (health.clone(), database.clone(), Arc::clone(&failures));
            async move { health.probe(&database, &failures).await }
        };
        self.supervisor
            .every("health", self.settings.period)
            .at_start()
            .run(probe)?;
        Ok(())
    }

    async fn probe(&self, database: &Database, failures: &AtomicU32) {
        let asked = tokio::time::timeout(self.settings.timeout, database.ping()).await;
        let failed = match asked {
            Ok(Ok(())) => 0,
            Ok(Err(_)) | Err(_) => failures.load(Ordering::Relaxed).saturating_add(1),
        };
        failures.store(failed, Ordering::Relaxed);
        let healthy = failed < FAILURES;
        if self.database.swap(healthy, Ordering::Relaxed) != healthy {
            tracing::warn!(healthy, "the database's health has changed");
        }
    }

    /// Whether requests are welcome.
    fn ready(&self) -> bool {
        let database =
            self.settings.database == Need::Degraded || self.database.load(Ordering::Relaxed);
        self.lifecycle.state() == State::Ready && self.supervisor.missing().is_empty() && database
    }

    /// The probes' routes.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/livez", get(|| async { answer(true) }))
            .route("/readyz", get(readyz))
            .route("/startupz", get(startupz))
            .with_state(self.clone())
    }
}

async fn readyz(Extract(health): Extract<Health>) -> Response {
    answer(health.ready())
}

async fn startupz(Extract(health): Extract<Health>) -> Response {
    answer(health.lifecycle.state() > State::Starting)
}

fn answer(healthy: bool) -> Response {
    let (status, body) = if healthy {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready")
    };
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}

/// `healthcheck`: asks the service that runs with these settings for its `/readyz`.
///
/// # Errors
///
/// When nothing answers there.
pub fn ask(operator: SocketAddr) -> io::Result<bool> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let mut address = operator;
    if address.ip().is_unspecified() {
        // "Any address" is where one listens; this machine is where one asks.
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let asked = || {
        let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        write!(
            connection,
            "GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )?;
        let mut status = [0; 12];
        connection.read_exact(&mut status)?;
        Ok(status)
    };
    let status = asked().map_err(|error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("nothing answers at {address} (operator.listen): {error}"),
        )
    })?;
    let ready = status.ends_with(b" 200");
    Ok(ready)
}
