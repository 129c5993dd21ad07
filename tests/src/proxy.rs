//! A TCP proxy in front of a server, for a test of a failing network.
//!
//! - With a delay, it forwards everything, only later.
//! - As a [black hole](Proxy::black_hole), it behaves like a pulled cable: connections are accepted
//!   and kept, and nothing is forwarded, not even the end of a connection. When it is
//!   [healed](Proxy::heal), everything arrives.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// A running proxy. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    /// Aborted on drop.
    _accepting: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Network {
    is_dead: bool,
    delay: Duration,
}

impl Proxy {
    /// Forwards to `server`, which need not be listening yet.
    pub async fn to(server: SocketAddr) -> io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (network, seen) = watch::channel(Network::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, server, seen));
        Ok(Proxy {
            address,
            network,
            _accepting: accepting,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delays all following bytes, in either direction.
    pub fn delay(&self, delay: Duration) {
        self.network.send_modify(|network| network.delay = delay);
    }

    pub fn black_hole(&self) {
        self.network.send_modify(|network| network.is_dead = true);
    }

    /// Forwards again, including what was sent in the meantime.
    pub fn heal(&self) {
        self.network.send_modify(|network| network.is_dead = false);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(pass_on(client, server, network.clone()));
            },
            // Removes finished connections, so that they do not accumulate.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Forwards one connection until it ends. A reset of one side resets the other.
async fn pass_on(mut client: TcpStream, address: SocketAddr, network: watch::Receiver<Network>) {
    let mut server = None;
    let ended = both_ways(&mut client, &mut server, address, network).await;
    if ended.is_err() {
        for stream in [Some(client), server].into_iter().flatten() {
            _ = stream.set_zero_linger();
        }
    }
}

async fn both_ways(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    address: SocketAddr,
    mut network: watch::Receiver<Network>,
) -> io::Result<()> {
    opened(&mut network).await;
    let server = server.insert(TcpStream::connect(address).await?);
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        one_way(from_client, to_server, network.clone()),
        one_way(from_server, to_client, network),
    )?;
    Ok(())
}

async fn one_way(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut network: watch::Receiver<Network>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // A dead network does not forward the end of a connection either.
        let read = from.read(&mut buffer).await;
        let delay = network.borrow().delay;
        sleep(delay).await;
        opened(&mut network).await;
        match read? {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}

/// Waits until the network forwards again.
async fn opened(network: &mut watch::Receiver<Network>) {
    // An error means that the proxy was dropped, which aborts this task too.
    _ = network.wait_for(|network| !network.is_dead).await;
}
