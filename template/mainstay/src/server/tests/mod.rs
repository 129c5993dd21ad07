//! The listener over real sockets: slow, silent and too many clients, and the drain.

mod drain;
mod limits;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Drain, Exchange, Limits, Listener, Sockets, Traffic};
use crate::tests::PATIENCE;

/// Limits that no test reaches.
const PATIENT: Limits = Limits {
    header_timeout: PATIENCE,
    idle_timeout: PATIENCE,
    write_timeout: PATIENCE,
    ..Limits::OPERATOR
};

/// A listener with routes of all kinds.
fn serve(limits: &Limits) -> Listener {
    let routes = Router::new()
        .route("/quick", get(async || "quick"))
        // More than the buffers of a connection hold.
        .route("/big", get(async || vec![0; 32 << 20]))
        .route("/events", get(events))
        .route("/upgrade", get(upgrade))
        .layer(middleware::from_fn(named));
    let mut sockets = Sockets::from_env(&[]);
    let bound = sockets.take("http", ([127, 0, 0, 1], 0).into()).unwrap();
    bound.serve(routes, limits).unwrap()
}

/// Sets the route of the request, as the edge does.
async fn named(request: Request, next: Next) -> Response {
    if let Some(route) = request.extensions().get().cloned() {
        Exchange::look(|exchange| exchange.set_route(route)).unwrap();
    }
    next.run(request).await
}

/// One event, and then silence.
async fn events() -> impl IntoResponse {
    let event = stream::once(async { Ok::<_, Infallible>("data: one\n\n") });
    let body = Body::from_stream(event.chain(stream::pending()));
    ([(header::CONTENT_TYPE, "text/event-stream")], body)
}

/// Upgrades to a protocol that sends `goodbye` when the drain begins, and closes when its client does.
async fn upgrade(drain: Drain, request: Request) -> impl IntoResponse {
    #[expect(clippy::disallowed_methods, reason = "as libraries for WebSockets do")]
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
        upgraded.write_all(b"hello").await.unwrap();
        drain.begun().await;
        upgraded.write_all(b"goodbye").await.unwrap();
        _ = upgraded.read(&mut [0]).await;
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "own")];
    (StatusCode::SWITCHING_PROTOCOLS, headers)
}

/// A client that sends only what a test sends.
struct Client(TcpStream);

impl Client {
    async fn connect(listener: &Listener) -> Self {
        Self(TcpStream::connect(listener.address()).await.unwrap())
    }

    /// Connects, and requests this path.
    async fn asks(listener: &Listener, path: &str) -> Self {
        let mut client = Self::connect(listener).await;
        client.ask(path).await;
        client
    }

    async fn ask(&mut self, path: &str) {
        let upgrade = match path {
            "/upgrade" => "connection: upgrade\r\nupgrade: own\r\n",
            _ => "",
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\n{upgrade}\r\n");
        self.write(&request).await;
    }

    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to and including this.
    async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        let reading = async {
            while !read.ends_with(end.as_bytes()) {
                match self.0.read_u8().await {
                    Ok(byte) => read.push(byte),
                    Err(_) => break,
                }
            }
        };
        let done = timeout(PATIENCE, reading).await;
        let text = String::from_utf8_lossy(&read).into_owned();
        assert!(
            done.is_ok() && text.ends_with(end),
            "no {end:?} in {text:?}"
        );
        text
    }

    /// Reads everything up to the end of the connection, however it ends.
    async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        let done = timeout(PATIENCE, self.0.read_to_end(&mut read)).await;
        assert!(done.is_ok(), "the connection stays open");
        String::from_utf8_lossy(&read).into_owned()
    }
}

fn traffic(listener: &Listener) -> Traffic {
    let mut traffic = Traffic::default();
    listener.add_to(&mut traffic);
    traffic
}

/// Waits until the traffic of the listener fulfils a condition.
async fn until(listener: &Listener, holds: impl Fn(&Traffic) -> bool) -> Traffic {
    let wait = async {
        loop {
            let traffic = traffic(listener);
            if holds(&traffic) {
                return traffic;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("condition never fulfilled: {:?}", traffic(listener)))
}
