//! A WebSocket in as few bytes as RFC 6455 asks of a client, over a [`Conversation`]: it never
//! answers by itself, so that a test can be as slow, or as silent, as it wants to be.

use std::net::SocketAddr;

use super::{Conversation, Failure, Farewell};

/// One WebSocket, spoken by hand. Dropped, its connection closes without a goodbye.
#[derive(Debug)]
pub struct WebSocket(Conversation);

/// What the other side said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    /// A goodbye, with its code.
    Close(u16),
    /// Anything else, by its number.
    Other(u8),
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
/// A client has to mask what it says; with what is its own business.
const MASK: [u8; 4] = [0x4b, 0x65, 0x65, 0x6c];

impl WebSocket {
    /// Asks for an upgrade with the key of the RFC's own example. Panics when it is not granted.
    pub async fn open(address: SocketAddr, path: &str) -> Result<WebSocket, Failure> {
        let mut wire = Conversation::open(address).await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        wire.write(request).await?;
        let answer = wire.head().await?;
        assert_eq!(answer.status, 101, "{answer}");
        let accepted = answer.header("sec-websocket-accept");
        assert_eq!(accepted, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        Ok(WebSocket(wire))
    }

    pub async fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.send(TEXT, text.as_bytes()).await
    }

    /// Says goodbye, or answers one.
    pub async fn close(&mut self, code: u16) -> Result<(), Failure> {
        self.send(CLOSE, &code.to_be_bytes()).await
    }

    /// The next frame. Those of this harness's services fit into 125 bytes.
    pub async fn hear(&mut self) -> Result<Frame, Failure> {
        let head = self.0.exactly(2).await?;
        let (kind, length) = (head[0] & 0x0f, usize::from(head[1]));
        assert!(length < 126, "a frame longer than this client can take");
        let payload = self.0.exactly(length).await?;
        Ok(match (kind, &*payload) {
            (TEXT, text) => Frame::Text(String::from_utf8_lossy(text).into_owned()),
            (CLOSE, [high, low, ..]) => Frame::Close(u16::from_be_bytes([*high, *low])),
            (other, _) => Frame::Other(other),
        })
    }

    /// Waits until the other side has closed the connection itself.
    pub async fn closed(&mut self) -> Result<Farewell, Failure> {
        self.0.closed().await
    }

    async fn send(&mut self, kind: u8, payload: &[u8]) -> Result<(), Failure> {
        let length = u8::try_from(payload.len()).ok().filter(|len| *len < 126);
        let length = length.expect("a short frame");
        let mut frame = vec![0x80 | kind, 0x80 | length];
        frame.extend(MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        self.0.write(frame).await
    }
}
