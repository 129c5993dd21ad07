//! The hosts that the monitor checks: a hundred hosts, and the forbidden addresses to which some of
//! them redirect.
//!
//! One listener serves all of them, since all addresses are on this machine. The local address of a
//! connection identifies the host.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::{io, iter};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) const TARGETS: usize = 5_000;

pub(crate) const HOSTS: usize = 100;

/// How a host reacts to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manner {
    /// Answers 200. Half of these hosts also close the connection.
    Answers,
    /// Answers 500.
    Fails,
    /// Answers for a while, then not.
    Flaps,
    /// Never answers.
    Hangs,
    /// Resets the connection.
    Resets,
    /// Redirects to a forbidden address.
    LeadsAstray,
    /// Does not listen.
    IsGone,
}

/// The number of hosts of each kind.
const KINDS: [(Manner, usize); 7] = [
    (Manner::Answers, 65),
    (Manner::Fails, 10),
    (Manner::Flaps, 5),
    (Manner::Hangs, 5),
    (Manner::Resets, 5),
    (Manner::LeadsAstray, 5),
    (Manner::IsGone, 5),
];

/// The targets of these redirects: this machine, private networks, and metadata services of clouds.
const ASTRAY: [&str; 5] = [
    "http://127.0.0.1/",
    "http://10.0.0.7/admin",
    "//192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:172.16.0.1]/",
];

impl Manner {
    /// The manner of a host.
    fn of(host: usize) -> Self {
        let kinds = KINDS.iter();
        let mut hosts = kinds.flat_map(|(kind, hosts)| iter::repeat_n(*kind, *hosts));
        hosts.nth(host).expect("a number below the number of hosts")
    }

    pub(crate) fn of_target(target: usize) -> Self {
        Self::of(target % HOSTS)
    }

    /// The number of hosts with this manner.
    pub(crate) fn hosts(self) -> usize {
        KINDS.iter().find(|(kind, _)| *kind == self).unwrap().1
    }
}

/// The URL of a target. The network is not reserved for special use.
pub(crate) fn url(target: usize) -> String {
    let host = target % HOSTS;
    let is_gone = Manner::of(host) == Manner::IsGone;
    let port = if is_gone { ":81" } else { "" };
    format!("http://11.0.0.{host}{port}/{target}")
}

/// The listener. It closes on drop.
pub(crate) struct World {
    seen: Arc<Seen>,
    _life: JoinSet<()>,
}

struct Seen {
    /// The number of requests for each target.
    asked: Vec<AtomicUsize>,
    /// The number of requests that reached a forbidden address.
    astray: AtomicUsize,
    /// Whether the flapping hosts are down.
    is_down: AtomicBool,
}

impl World {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
        let seen = Arc::new(Seen {
            asked: (0..TARGETS).map(|_| AtomicUsize::new(0)).collect(),
            astray: AtomicUsize::new(0),
            is_down: AtomicBool::new(false),
        });
        let mut life = JoinSet::new();
        life.spawn(listen(listener, Arc::clone(&seen)));
        Self { seen, _life: life }
    }

    /// Takes the flapping hosts down, or up again.
    pub(crate) fn flap(&self, is_down: bool) {
        self.seen.is_down.store(is_down, Relaxed);
    }

    pub(crate) fn asked(&self, target: usize) -> usize {
        self.seen.asked[target].load(Relaxed)
    }

    pub(crate) fn led_astray(&self) -> usize {
        self.seen.astray.load(Relaxed)
    }
}

async fn listen(listener: TcpListener, seen: Arc<Seen>) {
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                conversations.spawn(converse(stream, Arc::clone(&seen)));
            }
            Some(_) = conversations.join_next() => {}
        }
    }
}

async fn converse(mut stream: TcpStream, seen: Arc<Seen>) -> io::Result<()> {
    let Some(host) = host(stream.local_addr()?) else {
        seen.astray.fetch_add(1, Relaxed);
        return Ok(());
    };
    let (manner, closes) = (Manner::of(host), host % 2 == 1);
    while let Some(target) = asked(&mut stream).await? {
        seen.asked[target].fetch_add(1, Relaxed);
        let answer = match manner {
            Manner::Flaps if seen.is_down.load(Relaxed) => return Ok(()),
            Manner::Answers if closes => {
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
            }
            Manner::Answers | Manner::Flaps => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Manner::Fails => "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
            Manner::LeadsAstray => {
                let to = ASTRAY[target / HOSTS % ASTRAY.len()];
                let answer =
                    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await?;
                continue;
            }
            // Reads on until the client closes the connection.
            Manner::Hangs => continue,
            Manner::Resets => return stream.set_zero_linger(),
            Manner::IsGone => unreachable!("these hosts have no listener"),
        };
        stream.write_all(answer.as_bytes()).await?;
        if manner == Manner::Answers && closes {
            return Ok(());
        }
    }
    Ok(())
}

/// The host that owns this address.
fn host(address: SocketAddr) -> Option<usize> {
    match address.ip() {
        IpAddr::V4(address) if address.octets()[..3] == [11, 0, 0] => {
            Some(address.octets()[3].into())
        }
        _ => None,
    }
}

/// Reads a request, and returns its target. `None` at the end of the connection.
async fn asked(stream: &mut TcpStream) -> io::Result<Option<usize>> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next_line().await?.unwrap_or_default();
    while !lines.next_line().await?.unwrap_or_default().is_empty() {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    Ok(path.trim_start_matches('/').parse().ok())
}
