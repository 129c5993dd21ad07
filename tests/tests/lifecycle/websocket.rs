//! A minimal WebSocket client (RFC 6455) over a [`Conversation`]. It never answers by itself, so
//! that a test can be as slow or as silent as it needs.

use std::net::SocketAddr;

use harness::http::{Conversation, Failure, Farewell};

/// One WebSocket. Dropping it closes the connection without a close frame.
#[derive(Debug)]
pub(crate) struct WebSocket(Conversation);

/// A frame from the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    /// A close frame, with its code.
    Close(u16),
    /// Any other frame, by its opcode.
    Other(u8),
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
/// A client must mask its frames; any key will do.
const MASK: [u8; 4] = [0x4b, 0x65, 0x65, 0x6c];

impl WebSocket {
    /// Requests an upgrade with the key of the RFC's example. Panics if the service refuses.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Result<WebSocket, Failure> {
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

    pub(crate) async fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.send(TEXT, text.as_bytes()).await
    }

    /// Sends a close frame, or answers one.
    pub(crate) async fn close(&mut self, code: u16) -> Result<(), Failure> {
        self.send(CLOSE, &code.to_be_bytes()).await
    }

    /// Reads the next frame. The frames of this harness's services fit into 125 bytes.
    pub(crate) async fn hear(&mut self) -> Result<Frame, Failure> {
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

    /// Waits until the peer has closed the connection.
    pub(crate) async fn closed(&mut self) -> Result<Farewell, Failure> {
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
