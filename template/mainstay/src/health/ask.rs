//! `healthcheck`: sends a probe to the running service, for container images without curl.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probe {
    Readyz,
    Livez,
    Startupz,
}

impl Probe {
    /// The path of the probe, and the state of a service that passes it.
    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Readyz => ("/readyz", "ready"),
            Self::Livez => ("/livez", "alive"),
            Self::Startupz => ("/startupz", "started"),
        }
    }

    /// The state of a service that passes the probe.
    pub(crate) fn passed(self) -> &'static str {
        self.describe().1
    }
}

/// Whether the service with this operator's listener passes the probe.
pub(crate) fn ask(operator: SocketAddr, probe: Probe) -> io::Result<bool> {
    let mut address = operator;
    if address.ip().is_unspecified() {
        // A service that listens on all addresses is asked on this machine.
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let status = status(address, probe.describe().0).map_err(|error| {
        let message = format!("no answer from {address} (operator.listen): {error}");
        io::Error::new(error.kind(), message)
    })?;
    Ok(status.ends_with(b" 200"))
}

/// The beginning of the response, such as `HTTP/1.1 200`.
#[expect(
    clippy::disallowed_methods,
    reason = "the command runs without a runtime"
)]
fn status(address: SocketAddr, path: &str) -> io::Result<[u8; 12]> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let mut connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut status = [0; 12];
    connection.read_exact(&mut status)?;
    Ok(status)
}
