//! The peer that both measured clients request: `peer ADDRESS` answers each request five
//! milliseconds after its arrival, on kept connections, with as little other work as possible.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

const LATENCY: Duration = Duration::from_millis(5);

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nok";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("no address")?;
    let address: SocketAddr = address.parse()?;
    let listener = TcpListener::bind(address).await?;
    let mut conversations = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                conversations.spawn(converse(stream));
            }
            Some(_) = conversations.join_next() => {}
        }
    }
}

/// Serves one connection. It relies on clients that do not pipeline and send no bodies.
async fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = [0; 4096];
    let mut length = 0;
    loop {
        let count = stream.read(&mut head[length..]).await?;
        if count == 0 {
            return Ok(());
        }
        length += count;
        if head[..length].ends_with(b"\r\n\r\n") {
            length = 0;
            sleep(LATENCY).await;
            stream.write_all(ANSWER).await?;
        }
    }
}
