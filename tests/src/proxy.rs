//! A TCP proxy in front of a server, for a test that wants the network between them to fail.
//!
//! - Delayed, it passes everything on, only later.
//! - As a [black hole](Proxy::black_hole), it behaves as a cable that was pulled: connections are
//!   made and kept, and nothing comes through, the end of a connection included. When it is
//!   [healed](Proxy::heal), all of that arrives.
//! - [Cut](Proxy::cut), every connection is broken by force at once. New ones are welcome.

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

/// A running proxy. Dropped, it is gone, and its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    /// Aborted when this is dropped.
    _accepting: JoinSet<()>,
}

/// How the network is just now.
#[derive(Clone, Copy, Debug, Default)]
struct Network {
    is_dead: bool,
    delay: Duration,
    /// How often connections have been cut.
    cuts: u64,
}

impl Proxy {
    /// Passes on to `server`, which need not be there yet.
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

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whatever is sent from now on, in either direction, takes so much longer.
    pub fn delay(&self, delay: Duration) {
        self.network.send_modify(|network| network.delay = delay);
    }

    /// Nothing comes through any more.
    pub fn black_hole(&self) {
        self.network.send_modify(|network| network.is_dead = true);
    }

    /// Everything comes through again, also what was sent in the meantime.
    pub fn heal(&self) {
        self.network.send_modify(|network| network.is_dead = false);
    }

    /// Breaks every connection there is.
    pub fn cut(&self) {
        self.network.send_modify(|network| network.cuts += 1);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, network: watch::Receiver<Network>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(pass_on(client, server, network.clone()));
            },
            // Finished ones are not to pile up.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, to its end.
async fn pass_on(mut client: TcpStream, address: SocketAddr, network: watch::Receiver<Network>) {
    let cuts = network.borrow().cuts;
    let mut server = None;
    let mut cut = network.clone();
    let ended_well = tokio::select! {
        ended = both_ways(&mut client, &mut server, address, network) => ended.is_ok(),
        _ = cut.wait_for(|network| network.cuts != cuts) => false,
    };
    if !ended_well {
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
        // An end is news as well, and a dead network does not pass that on either.
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

/// Waits until something comes through.
async fn opened(network: &mut watch::Receiver<Network>) {
    // An error means that the proxy is gone, and this with it in a moment.
    _ = network.wait_for(|network| !network.is_dead).await;
}
