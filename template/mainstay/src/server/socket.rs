//! The sockets of listeners: bound here, or inherited by socket activation.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use rustix::process::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

/// A bound socket that does not accept yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) is_inherited: bool,
    pub(super) socket: TcpListener,
}

impl Bound {
    /// The address of the socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket itself, for another server.
    pub fn into_tcp_listener(self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.socket)
    }
}

/// The sockets of a process, new or inherited.
///
/// systemd may pass sockets (`LISTEN_FDS`), by the names of the listeners (`FileDescriptorName=`) or in their order.
/// Such a socket outlives the process, so that a restart refuses no connection.
#[expect(missing_debug_implementations, reason = "`ListenFd` has none")]
pub struct Sockets {
    inherited: ListenFd,
    /// The listener of each inherited socket.
    order: Vec<String>,
}

impl Sockets {
    /// Takes the sockets that the process inherited. `listeners` is the order of sockets without names.
    #[must_use]
    pub fn from_env(listeners: &[&str]) -> Self {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut order: Vec<_> = names.split(':').map(str::to_owned).collect();
        if !order.iter().any(|name| listeners.contains(&name.as_str())) {
            order = listeners.iter().map(ToString::to_string).collect();
        }
        Self {
            inherited: ListenFd::from_env(),
            order,
        }
    }

    /// The socket of this listener: the inherited one, or a new one. Port 0 is any free port.
    #[expect(clippy::disallowed_methods, reason = "it becomes non-blocking")]
    pub fn take(&mut self, name: &'static str, address: SocketAddr) -> io::Result<Bound> {
        let at = self.order.iter().position(|listener| listener == name);
        let inherited = at.map_or(Ok(None), |at| self.inherited.take_tcp_listener(at))?;
        let is_inherited = inherited.is_some();
        let bind = || {
            TcpListener::bind(address).map_err(|error| {
                let what = format!("the {name} listener cannot bind {address} ({name}.listen)");
                io::Error::new(error.kind(), format!("{what}: {error}"))
            })
        };
        let socket = inherited.map_or_else(bind, Ok)?;
        socket.set_nonblocking(true)?;
        // More connections may wait to be accepted than the 128 of std, as far as the operating system allows.
        SockRef::from(&socket).listen(4096)?;
        Ok(Bound {
            name,
            address: socket.local_addr()?,
            is_inherited,
            socket,
        })
    }
}

/// Raises the limit on open files to its maximum, and returns how many of these connections fit below it. More
/// connections would take the last files from the probes and the database.
pub(crate) fn room_for(connections: usize) -> usize {
    /// For the operator's connections, databases, the log and the runtime.
    const OTHER_FILES: usize = 192;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    _ = setrlimit(Resource::Nofile, limit);
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
    let room = limit.saturating_sub(OTHER_FILES).max(1);
    if room < connections {
        tracing::warn!(
            limit,
            connections = room,
            "http.max_connections is beyond the limit on open files (LimitNOFILE, ulimit -n)"
        );
    }
    room.min(connections)
}
