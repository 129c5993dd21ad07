//! Raw bytes on a socket: half a request, two requests at once, a reader that does not read, a
//! client that vanishes.
//!
//! Received bytes are buffered until a call takes them, so that no call loses bytes of the next
//! one. Each call has the conversation's full timeout. A failure names the peer, the first line of
//! the last write, and the unread bytes.

use std::{io, net::SocketAddr, time::Duration};

use hyper::{
    HeaderMap,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{Answer, Failure, Kind, PATIENCE, attempt, excerpt};

/// One TCP connection, without an HTTP library. Dropping it closes it.
#[derive(Debug)]
pub struct Conversation {
    stream: TcpStream,
    address: SocketAddr,
    /// Received, and not yet returned to the test.
    unread: Vec<u8>,
    last_write: String,
    limit: Duration,
}

/// How the peer ended the connection.
#[derive(Clone, Debug)]
pub struct Farewell {
    /// The bytes that were received and not yet returned to the test.
    pub rest: Vec<u8>,
    /// The peer reset the connection (RST) instead of closing it (FIN).
    pub by_force: bool,
}

impl Conversation {
    pub async fn open(address: SocketAddr) -> Result<Conversation, Failure> {
        Conversation::connect(address, None).await
    }

    /// Connects, and sends these bytes.
    pub async fn begin(
        address: SocketAddr,
        bytes: impl AsRef<[u8]>,
    ) -> Result<Conversation, Failure> {
        let mut conversation = Conversation::open(address).await?;
        conversation.write(bytes).await?;
        Ok(conversation)
    }

    /// Connects with a receive buffer of about this size, so that the service's writes block after
    /// a few kilobytes, not after megabytes.
    pub async fn open_narrow(address: SocketAddr, buffer: u32) -> Result<Conversation, Failure> {
        Conversation::connect(address, Some(buffer)).await
    }

    async fn connect(address: SocketAddr, buffer: Option<u32>) -> Result<Conversation, Failure> {
        let what = format!("connecting to {address}");
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = buffer {
                socket.set_recv_buffer_size(bytes)?;
            }
            let stream = socket.connect(address).await?;
            // Nagle's algorithm would merge writes, and many tests need half a request to arrive as
            // such.
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        Ok(Conversation {
            stream: attempt(PATIENCE, &what, connect).await?,
            address,
            unread: Vec::new(),
            last_write: String::new(),
            limit: PATIENCE,
        })
    }

    /// Sets the timeout of each following call, instead of thirty seconds.
    pub fn within(&mut self, limit: Duration) -> &mut Conversation {
        self.limit = limit;
        self
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let bytes = bytes.as_ref();
        let first = bytes.split(|byte| *byte == b'\r').next();
        self.last_write = excerpt(first.unwrap_or_default());
        let what = self.describe("writing to");
        attempt(self.limit, &what, self.stream.write_all(bytes)).await
    }

    pub async fn finish(&mut self) -> Result<(), Failure> {
        let what = self.describe("finishing the request to");
        attempt(self.limit, &what, self.stream.shutdown()).await
    }

    /// Resets the connection (RST), as after a power failure of the client.
    pub fn abort(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Reads a complete response: the head, and as much body as the head announces. It does not
    /// know the request's method: for the response to a `HEAD`, use [`head`](Conversation::head).
    pub async fn answer(&mut self) -> Result<Answer, Failure> {
        self.bounded(async |this| {
            let mut answer = this.read_head().await?;
            answer.body = this.read_body(&answer).await?.into();
            Ok(answer)
        })
        .await
    }

    pub async fn head(&mut self) -> Result<Answer, Failure> {
        self.bounded(Conversation::read_head).await
    }

    /// Reads everything up to and including the first `marker`.
    pub async fn until(&mut self, marker: impl AsRef<[u8]>) -> Result<Vec<u8>, Failure> {
        self.bounded(async |this| this.read_until(marker.as_ref()).await)
            .await
    }

    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        self.bounded(async |this| this.read_exactly(length).await)
            .await
    }

    /// Waits until the peer has ended the connection, in any way.
    pub async fn closed(&mut self) -> Result<Farewell, Failure> {
        self.bounded(async |this| {
            let by_force = this.read_to_end().await? == Kind::Reset;
            Ok(Farewell {
                rest: std::mem::take(&mut this.unread),
                by_force,
            })
        })
        .await
    }

    /// Whether the peer has closed or reset the connection by now. Does not wait.
    pub fn is_over(&self) -> bool {
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.stream, &mut [0_u8; 1], look) {
            Ok((count, _)) => count == 0,
            Err(error) => error != Errno::AGAIN,
        }
    }

    async fn bounded<T>(
        &mut self,
        read: impl AsyncFnOnce(&mut Conversation) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(self.limit, read(self)).await {
            Ok(result) => result,
            Err(_) => Err(self.failure(Kind::Late, format!("not within {:?}", self.limit))),
        }
    }

    async fn read_head(&mut self) -> Result<Answer, Failure> {
        let head = self.read_until(b"\r\n\r\n").await?;
        let broken = || format!("not the head of an answer: {}", excerpt(&head));
        parse_head(&head).ok_or_else(|| self.failure(Kind::Broken, broken()))
    }

    async fn read_body(&mut self, answer: &Answer) -> Result<Vec<u8>, Failure> {
        if matches!(answer.status, 100..=199 | 204 | 304) {
            return Ok(Vec::new());
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            return self.read_chunks().await;
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse();
            let length = length.map_err(|_| self.failure(Kind::Broken, "no length"))?;
            return self.read_exactly(length).await;
        }
        match self.read_to_end().await? {
            Kind::Reset => Err(self.failure(Kind::Reset, "broken off within the body")),
            _ => Ok(std::mem::take(&mut self.unread)),
        }
    }

    async fn read_chunks(&mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let line = self.read_until(b"\r\n").await?;
            let size = std::str::from_utf8(&line)
                .ok()
                .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok());
            match size {
                None => return Err(self.failure(Kind::Broken, "a chunk without a size")),
                Some(0) => break,
                Some(size) => {
                    body.extend(self.read_exactly(size).await?);
                    self.read_until(b"\r\n").await?;
                }
            }
        }
        // Trailers, and the empty line that ends them.
        while self.read_until(b"\r\n").await? != b"\r\n" {}
        Ok(body)
    }

    async fn read_until(&mut self, marker: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut searched = 0;
        loop {
            let found = self.unread[searched..]
                .windows(marker.len())
                .position(|bytes| bytes == marker);
            if let Some(position) = found {
                let end = searched + position + marker.len();
                return Ok(self.unread.drain(..end).collect());
            }
            // The marker may begin within the last bytes.
            searched = (self.unread.len() + 1).saturating_sub(marker.len());
            self.need_more().await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        while self.unread.len() < length {
            self.need_more().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn read_to_end(&mut self) -> Result<Kind, Failure> {
        loop {
            match self.need_more().await {
                Ok(()) => {}
                Err(failure) if matches!(failure.kind, Kind::Closed | Kind::Reset) => {
                    return Ok(failure.kind);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn need_more(&mut self) -> Result<(), Failure> {
        match self.stream.read_buf(&mut self.unread).await {
            Ok(0) => Err(self.failure(Kind::Closed, "closed before that")),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::caused(self.describe("reading from"), &error)),
        }
    }

    fn failure(&self, kind: Kind, cause: impl Into<String>) -> Failure {
        let cause = format!("{}, unread: {:?}", cause.into(), excerpt(&self.unread));
        Failure::new(kind, self.describe("reading from"), cause)
    }

    fn describe(&self, action: &str) -> String {
        let (address, last) = (self.address, &self.last_write);
        format!("{action} {address} after writing `{last}`")
    }
}

fn parse_head(head: &[u8]) -> Option<Answer> {
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let (version, rest) = lines.next()?.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_str(value.trim()).ok()?,
        );
    }
    version.starts_with("HTTP/1.").then(|| Answer {
        status,
        headers,
        body: Bytes::new(),
    })
}
