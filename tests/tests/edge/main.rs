//! The faulty service (`tests/faults`), as a real process, and clients that mean it no good: requests
//! that are not what they say, bodies without an end, floods of frames, more requests than it can
//! work on. Each is answered as docs/contract.md says, costs bounded memory and work, and afterwards the
//! service serves as before, at no cost while nobody asks.

mod bodies;
mod floods;
mod heads;
mod limits;
mod methods;
mod overload;
mod slow;

use std::net::SocketAddr;
use std::time::Duration;

use harness::eventually;
use harness::fleet;
use harness::http::{self, Answer, Conversation};
use harness::service::{Launch, Service};

/// What a service may grow by under any of this, in bytes.
const GROWTH: u64 = 16 * 1024 * 1024;

/// How long any of this may keep a processor busy: this is a debug build, on a busy machine.
const WORK: Duration = Duration::from_secs(10);

/// What a service that nobody asks for anything may work in the time after that.
const REST: Duration = Duration::from_millis(300);
const NOTHING: Duration = Duration::from_millis(100);

/// What a service has used by now.
#[derive(Clone, Copy)]
struct Before {
    memory: u64,
    work: Duration,
}

impl Before {
    fn of(service: &Service) -> Self {
        Self {
            memory: service.rss(),
            work: service.cpu_time(),
        }
    }
}

/// The faulty service, not started yet.
fn faulty() -> Launch {
    Service::of(fleet::FAULTS.binary())
}

/// The answer to these bytes.
async fn said(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut client = Conversation::open(address).await.unwrap();
    client.write(request).await.unwrap();
    client.answer().await.unwrap()
}

/// It has not grown or worked much, serves as before, and does nothing more.
async fn unimpressed(service: &Service, before: Before) {
    let answer = http::get(service.http().await, "/slow?ms=0").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"), "{answer}");
    let grown = service.peak_rss().saturating_sub(before.memory);
    assert!(grown < GROWTH, "it has grown by {grown} bytes");
    let after = service.cpu_time();
    let worked = after.saturating_sub(before.work);
    println!("it has grown by {grown} bytes and worked for {worked:?}");
    assert!(worked < WORK, "it has worked for {worked:?}");
    // Whatever is still on its way to its end gets there.
    eventually("a service at rest", async || {
        let before = service.cpu_time();
        tokio::time::sleep(REST).await;
        (service.cpu_time().saturating_sub(before) < NOTHING).then_some(())
    })
    .await;
}
