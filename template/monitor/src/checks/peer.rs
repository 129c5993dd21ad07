//! A scripted peer for tests, which reports what it observes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::Url;

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The reaction to a request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Writes these bytes, and waits for another request.
    Bytes(String),
    /// Writes these bytes repeatedly, until the connection ends.
    Endless(String),
    /// Writes these bytes, and closes.
    Last(String),
    /// Does nothing.
    Silence,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Connected,
    /// A request with this head came.
    Asked(String),
    /// The client has left before the response.
    Left,
}

/// It stops when it is dropped.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    events: Mutex<mpsc::UnboundedReceiver<Event>>,
    _life: JoinSet<()>,
}

impl Peer {
    /// A peer that reacts to the head of each request.
    pub(super) async fn new(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, events) = mpsc::unbounded_channel();
        let script = Arc::new(script);
        let mut life = JoinSet::new();
        life.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                _ = tell.send(Event::Connected);
                conversations.spawn(converse(stream, Arc::clone(&script), tell.clone()));
            }
        });
        Self {
            address,
            events: Mutex::new(events),
            _life: life,
        }
    }

    /// A peer that reacts to every request in the same way.
    pub(super) async fn always(reply: Reply) -> Self {
        Self::new(move |_| reply.clone()).await
    }

    pub(super) fn url(&self, path: &str) -> Url {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// Waits for the next event.
    pub(super) async fn next(&self) -> Event {
        let mut events = self.events.lock().await;
        let next = timeout(PATIENCE, events.recv()).await;
        next.expect("an event in time").expect("a running peer")
    }

    /// Waits for the head of the next request.
    pub(super) async fn asked(&self) -> String {
        loop {
            if let Event::Asked(head) = self.next().await {
                return head;
            }
        }
    }

    /// The events that the test has not read yet.
    pub(super) async fn seen(&self) -> Vec<Event> {
        let mut events = self.events.lock().await;
        std::iter::from_fn(|| events.try_recv().ok()).collect()
    }
}

/// A response with a length.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Bytes(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))
}

async fn converse(
    mut stream: TcpStream,
    script: Arc<impl Fn(&str) -> Reply>,
    tell: mpsc::UnboundedSender<Event>,
) {
    while let Some(head) = head(&mut stream).await {
        let reply = script(&head);
        _ = tell.send(Event::Asked(head));
        let written = match reply {
            Reply::Bytes(bytes) => stream.write_all(bytes.as_bytes()).await,
            Reply::Last(bytes) => {
                _ = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Reply::Endless(bytes) => loop {
                if let Err(error) = stream.write_all(bytes.as_bytes()).await {
                    break Err(error);
                }
            },
            Reply::Silence => {
                // The client sends nothing more before the response, so that this returns when it leaves.
                _ = stream.read_u8().await;
                _ = tell.send(Event::Left);
                return;
            }
        };
        if written.is_err() {
            _ = tell.send(Event::Left);
            return;
        }
    }
}

/// The head of a request, or the first bytes of TLS.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
        if head == [0x16] {
            return Some("TLS".to_owned());
        }
    }
    String::from_utf8(head).ok()
}
