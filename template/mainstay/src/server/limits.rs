//! The limits of a listener.

use std::time::Duration;

use garde::Validate;
use serde::Deserialize;

use crate::settings::{ByteSize, at_least, within};

/// The limits of a listener for each client, and for all of them together.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub struct Limits {
    /// How long the head of a request may take from its first byte to its last, and how long a new connection
    /// may take to send its first head.
    #[garde(custom(at_least("1ms")))]
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests.
    #[garde(custom(at_least("1ms")))]
    pub idle_timeout: Duration,
    /// How long a client may read nothing while a response waits for it.
    #[garde(custom(at_least("1ms")))]
    pub write_timeout: Duration,
    /// The most connections that are open at once.
    #[garde(range(min = 1, max = 1_000_000))]
    pub max_connections: usize,
    /// The largest head of a request.
    #[garde(custom(within("8KiB", "1MiB")))]
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
