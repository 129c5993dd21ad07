//! The faulty service (`tests/faults`), as a real process, and clients that mean it no good: requests
//! that are not what they say, bodies without an end, floods of frames, more requests than it can
//! work on. Each is answered as docs/contract.md says, costs bounded memory, and afterwards the
//! service serves as before.

mod bodies;
mod floods;
mod heads;
mod overload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;

use keelson::http::{self, Answer, Conversation};
use keelson::service::{Launch, Service};
use keelson::variant::Variant;

/// What a service may grow by under any of this, in bytes.
const GROWTH: u64 = 16 * 1024 * 1024;

/// The faulty service, not started yet.
fn faulty() -> Launch {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let binary = BINARY.get_or_init(|| Variant::default().with("faults").generate().build());
    Service::of(binary)
}

/// The answer to these bytes.
async fn said(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut client = Conversation::open(address).await.unwrap();
    client.write(request).await.unwrap();
    client.answer().await.unwrap()
}

/// It has not grown much, and serves as before.
async fn unimpressed(service: &Service, before: u64) {
    let answer = http::get(service.http().await, "/slow?ms=0").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"), "{answer}");
    let grown = service.peak_rss().saturating_sub(before);
    assert!(grown < GROWTH, "it has grown by {grown} bytes");
}
