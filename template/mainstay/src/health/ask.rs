//! `healthcheck`: asks the running service from where it runs, for container images without curl.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// What can be asked, by the name of its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Probe {
    Readyz,
    Livez,
    Startupz,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Readyz => "/readyz",
            Self::Livez => "/livez",
            Self::Startupz => "/startupz",
        }
    }

    /// What a service is that passes it.
    pub(crate) fn passed(self) -> &'static str {
        match self {
            Self::Readyz => "ready",
            Self::Livez => "alive",
            Self::Startupz => "started",
        }
    }
}

/// Asks the service that runs with these settings whether the probe passes.
#[expect(
    clippy::disallowed_methods,
    reason = "a command of its own, without a runtime"
)]
pub(crate) fn ask(operator: SocketAddr, probe: Probe) -> io::Result<bool> {
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
            "GET {} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n",
            probe.path()
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
    Ok(status.ends_with(b" 200"))
}
