//! The limits of a listener.

use std::time::Duration;

use crate::settings::{ByteSize, Check, Reader, Section};

/// The limits of a listener for each client, and for all of them together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long the head of a request may take from its first byte to its last, and how long a new connection
    /// may take to send its first head.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests.
    pub idle_timeout: Duration,
    /// How long a client may read nothing while a response waits for it.
    pub write_timeout: Duration,
    /// The most connections that are open at once.
    pub max_connections: usize,
    /// The largest head of a request.
    pub header_limit: ByteSize,
    /// Whether clients may use HTTP/2 (without TLS, with prior knowledge).
    pub http2: bool,
}

impl Limits {
    /// The limits of the operator's listener.
    pub const OPERATOR: Self = Self {
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
        max_connections: 64,
        header_limit: ByteSize(32 * 1024),
        http2: false,
    };
}

/// The part of `[http]` for connections.
impl Section for Limits {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            header_timeout: from.value("header_timeout"),
            idle_timeout: from.value("idle_timeout"),
            write_timeout: from.value("write_timeout"),
            max_connections: from.value("max_connections"),
            header_limit: from.value("header_limit"),
            http2: from.value("http2"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        for (time, key) in [
            (self.header_timeout, "http.header_timeout"),
            (self.idle_timeout, "http.idle_timeout"),
            (self.write_timeout, "http.write_timeout"),
        ] {
            check.that(!time.is_zero(), &[key], "must be longer than nothing");
        }
        check.range("http.max_connections", self.max_connections, 1..=1_000_000);
        check.that(
            (8 * 1024..=1024 * 1024).contains(&self.header_limit.0),
            &["http.header_limit"],
            "must be from 8KiB to 1MiB",
        );
    }
}
