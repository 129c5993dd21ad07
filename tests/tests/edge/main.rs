//! The faulty service (`tests/faults`), as a real process, and hostile clients: malformed requests, bodies without an
//! end, floods of frames, more requests than it can handle. Each is answered as docs/contract.md says and costs bounded
//! memory and work. Afterwards the service serves as before, and is idle without requests.

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

/// The most that a test may add to the memory of the service, in bytes.
const GROWTH: u64 = 16 * 1024 * 1024;

/// The most CPU time that a test may take: this is a debug build, on a busy machine.
const WORK: Duration = Duration::from_secs(10);

/// In this time, an idle service may work for as long as [`NOTHING`].
const REST: Duration = Duration::from_millis(300);
const NOTHING: Duration = Duration::from_millis(100);

/// The resources that the service has used before a test.
#[derive(Clone, Copy)]
struct Before {
    memory: u64,
    work: Duration,
}

/// Starts a service, and measures what it uses.
async fn ready(launch: Launch) -> (Service, Before) {
    let service = launch.ready().await;
    let (memory, work) = (service.rss(), service.cpu_time());
    (service, Before { memory, work })
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

/// Asserts that the service used few resources, serves as before, and is idle again.
async fn assert_unaffected(service: &Service, before: Before) {
    let answer = http::get(service.http().await, "/slow?ms=0").await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"), "{answer}");
    let grown = service.peak_rss().saturating_sub(before.memory);
    assert!(grown < GROWTH, "memory has grown by {grown} bytes");
    let after = service.cpu_time();
    let worked = after.saturating_sub(before.work);
    println!("memory has grown by {grown} bytes, CPU time is {worked:?}");
    assert!(worked < WORK, "CPU time is {worked:?}");
    // Connections that are being closed still need a moment.
    eventually("a service at rest", async || {
        let before = service.cpu_time();
        tokio::time::sleep(REST).await;
        (service.cpu_time().saturating_sub(before) < NOTHING).then_some(())
    })
    .await;
}
