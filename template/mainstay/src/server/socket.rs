//! The sockets of listeners: bound here, or inherited by socket activation.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};

/// Why a listener has no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The operating system refuses the address.
    #[error("the {listener} listener cannot bind {address} ({listener}.listen): {cause}")]
    Bind {
        /// The name of the listener.
        listener: &'static str,
        /// The address.
        address: SocketAddr,
        /// The error of the operating system.
        cause: io::Error,
    },
    /// The inherited socket is not a listening TCP socket.
    #[error("the {listener} listener was handed a socket that it cannot use: {cause}")]
    Inherited {
        /// The name of the listener.
        listener: &'static str,
        /// The error of the operating system.
        cause: io::Error,
    },
}

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    name: &'static str,
    socket: TcpListener,
    address: SocketAddr,
    inherited: bool,
}

/// Connections that wait to be accepted, as far as the operating system allows.
const BACKLOG: i32 = 4096;

/// The sockets of a process, new or inherited.
///
/// systemd, or another supervisor with its protocol (`LISTEN_FDS`), may hand sockets over, by the names of the
/// listeners (`FileDescriptorName=`) or in their order. Such a socket outlives the process, so that a restart
/// refuses no connection.
pub struct Sockets {
    handed: ListenFd,
    order: Vec<&'static str>,
}

impl Sockets {
    /// Takes the sockets that the process inherited. `listeners` are the names of all listeners, in the order of
    /// sockets without names.
    #[must_use]
    pub fn from_env(listeners: &[&'static str]) -> Self {
        let given = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let named: Vec<_> = given.split(':').collect();
        let known = |name: &&str| listeners.iter().find(|known| *known == name).copied();
        let order = if named.iter().any(|name| known(name).is_some()) {
            named.iter().map(|name| known(name).unwrap_or("")).collect()
        } else {
            listeners.to_vec()
        };
        Self {
            handed: ListenFd::from_env(),
            order,
        }
    }

    /// The socket of this listener: the inherited one, or a new one. Port 0 is any free port.
    ///
    /// # Errors
    ///
    /// If the address is in use, not of this machine, or not allowed.
    pub fn take(&mut self, name: &'static str, address: SocketAddr) -> Result<Bound, BindError> {
        let place = self.order.iter().position(|listener| *listener == name);
        let handed = place.map_or(Ok(None), |place| self.handed.take_tcp_listener(place));
        let inherited = |cause| BindError::Inherited {
            listener: name,
            cause,
        };
        if let Some(socket) = handed.map_err(inherited)? {
            socket.set_nonblocking(true).map_err(inherited)?;
            let address = socket.local_addr().map_err(inherited)?;
            return Ok(Bound {
                name,
                socket,
                address,
                inherited: true,
            });
        }
        let bound = |cause| BindError::Bind {
            listener: name,
            address,
            cause,
        };
        let socket = bind(address).map_err(bound)?;
        let address = socket.local_addr().map_err(bound)?;
        Ok(Bound {
            name,
            socket,
            address,
            inherited: false,
        })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart need not wait for the connections of the process before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// From now on, nobody new gets through: whoever has begun to connect still does, and everybody else
/// stays without an answer, and asks again after a second. Without this, who comes between the last
/// `accept` and the close would have a connection, and see it broken.
#[cfg(target_os = "linux")]
pub(super) fn admit_no_more(socket: &tokio::net::TcpListener) -> io::Result<()> {
    // A packet filter that the kernel runs on each TCP header: those that open a connection go.
    const LOAD_FLAGS: SockFilter = SockFilter::new(0x30, 0, 0, 13); // the byte at 13
    const UNLESS_SYN: SockFilter = SockFilter::new(0x45, 0, 1, 0x02); // skip one if not set
    const DROP: SockFilter = SockFilter::new(0x06, 0, 0, 0);
    const PASS: SockFilter = SockFilter::new(0x06, 0, 0, u32::MAX);
    SockRef::from(socket).attach_filter(&[LOAD_FLAGS, UNLESS_SYN, DROP, PASS])
}

/// Other systems have no such filter.
#[cfg(not(target_os = "linux"))]
pub(super) fn admit_no_more(_: &tokio::net::TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Raises the limit on open files to its maximum, and returns how many of these connections fit below it beside
/// `others`. More connections are not accepted: they would take the last files from the probes and the database.
pub(crate) fn room_for(connections: usize, others: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, most) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let room = limit.map_or(connections, |limit| {
        connections
            .min(limit.saturating_sub(OWN_FILES + others))
            .max(1)
    });
    if room < connections {
        tracing::warn!(
            limit,
            connections = room,
            "http.max_connections is beyond the limit on open files (LimitNOFILE, ulimit -n)"
        );
    }
    room
}

/// Files that every process has: the operator's connections, logs, the runtime's, and some more.
const OWN_FILES: usize = 128;

impl Bound {
    /// The address of the socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// The socket itself, for another server.
    ///
    /// # Errors
    ///
    /// If the runtime cannot watch the socket.
    pub fn into_tcp_listener(self) -> Result<tokio::net::TcpListener, BindError> {
        let failed = |cause| BindError::Bind {
            listener: self.name,
            address: self.address,
            cause,
        };
        tokio::net::TcpListener::from_std(self.socket).map_err(failed)
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets")
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}
