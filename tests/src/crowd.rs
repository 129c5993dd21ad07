//! Thousands of connections that are held open at once, and the memory that each costs the service.
//!
//! Clients connect one after another, each with the same [`Manner`], and stay until the crowd is
//! dropped. A crowd is complete when the service's own gauges count all of it.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::eventually;
use crate::http::{Answer, Conversation, Failure, get};
use crate::service::{Launch, Service};

/// What a client sends before it falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// One request, and reads its answer.
    Idle,
    Silent,
    /// Half the head of a request.
    HalfOpen,
    /// A request in flight: half of its body is still missing.
    Busy,
}

#[derive(Debug)]
pub struct Crowd {
    clients: Vec<Conversation>,
    /// Resident memory of the service for each client, in bytes.
    pub bytes_each: u64,
}

/// The service's gauges of its public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub connections: usize,
    pub in_flight: usize,
}

/// Connections of the limit that a crowd leaves to other clients.
const ROOM: usize = 100;

/// Open files of this process that are not connections of a crowd.
const OWN_FILES: usize = 1000;

const ASKS: &str = "GET /v1/targets HTTP/1.1\r\nhost: crowd\r\n\r\n";
const HALF_A_HEAD: &str = "GET /v1/targets HTTP/1.1\r\nhost: crowd\r\nuser-agent: cro";
const HALF_A_BODY: &str = "POST /v1/targets HTTP/1.1\r\nhost: crowd\r\n\
    content-type: application/json\r\ncontent-length: 19\r\n\r\n{ \"url\": ";
const OTHER_HALF: &str = "\"nowhere\"}";

/// Raises this process's limit on open files, so that it can hold this many connections.
pub fn make_room(connections: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, most).context("the limit on open files cannot be raised")?;
    let needed = connections + OWN_FILES;
    let suffices = limit.maximum.is_none_or(|most| most >= needed as u64);
    ensure!(
        suffices,
        "the hard limit on open files (ulimit -Hn) is below {needed}"
    );
    Ok(())
}

/// Configures a service that keeps this many connections open while a test gathers and measures
/// them. The limit on requests in flight stays at its default, since half a body holds no permit.
pub fn welcoming(launch: Launch, connections: usize) -> Launch {
    launch
        .set("http.max_connections", connections + ROOM)
        .set("http.header_timeout", "10m")
        .set("http.idle_timeout", "10m")
        .set("http.request_timeout", "10m")
}

impl Crowd {
    /// Connects this many clients with the same manner, and waits until the service counts them
    /// all.
    pub async fn gather(service: &Service, manner: Manner, size: usize) -> Result<Crowd> {
        let address = service.http().await;
        let (before, memory) = (Count::by(service).await, service.rss());
        let mut clients = Vec::with_capacity(size);
        for _ in 0..size {
            let mut client = Conversation::open(address).await?;
            match manner {
                Manner::Idle => {
                    client.write(ASKS).await?;
                    let answer = client.answer().await?;
                    ensure!(answer.status == 200, "{answer}");
                }
                Manner::Silent => {}
                Manner::HalfOpen => client.write(HALF_A_HEAD).await?,
                Manner::Busy => client.write(HALF_A_BODY).await?,
            }
            clients.push(client);
        }
        let busy = if manner == Manner::Busy { size } else { 0 };
        let whole = Count {
            connections: before.connections + size,
            in_flight: before.in_flight + busy,
        };
        whole.reached_by(service).await;
        // Half a head appears in no gauge. The answer to a later request proves that it was read.
        get(address, "/livez").await?;
        whole.reached_by(service).await;
        let bytes_each = service.rss().saturating_sub(memory) / size as u64;
        Ok(Crowd {
            clients,
            bytes_each,
        })
    }

    /// Sends the rest of the busy clients' requests, and returns their answers.
    pub async fn finish(&mut self) -> Result<Vec<Answer>, Failure> {
        for client in &mut self.clients {
            client.write(OTHER_HALF).await?;
        }
        let mut answers = Vec::with_capacity(self.clients.len());
        for client in &mut self.clients {
            answers.push(client.answer().await?);
        }
        Ok(answers)
    }
}

impl Count {
    async fn by(service: &Service) -> Count {
        let state = service.ask("/api/state").await.json();
        let number = |name| {
            let number = state["http"][name].as_u64().map(usize::try_from);
            number
                .unwrap_or_else(|| panic!("no {name} in {state}"))
                .expect("a count")
        };
        Count {
            connections: number("connections"),
            in_flight: number("in_flight"),
        }
    }

    /// Waits until the service counts exactly these numbers, without short-lived connections.
    pub async fn reached_by(self, service: &Service) {
        eventually(&format!("{self:?}"), async || {
            (Count::by(service).await == self).then_some(())
        })
        .await;
    }
}
