//! Connections that are kept: HTTP/1.1, one request after another, and HTTP/2 with prior knowledge,
//! many at once.
//!
//! Each connection has its own driver task, so it notices at once when the peer closes it
//! ([`closed`](Http1::closed)), even while no request is in flight. Dropping it ends the task.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::{
    Response,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::watch};

use super::{Answer, Failure, PATIENCE, Request, attempt, bounded};

/// A keep-alive HTTP/1.1 connection.
#[derive(Debug)]
pub struct Http1 {
    sender: http1::SendRequest<Full<Bytes>>,
    wire: Wire,
}

/// An HTTP/2 connection. Clones share it.
#[derive(Clone, Debug)]
pub struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    wire: Wire,
}

impl Http1 {
    pub async fn connect(address: SocketAddr) -> Result<Http1, Failure> {
        let what = format!("connecting to {address}");
        let handshake = http1::handshake(open(address).await?);
        let (sender, connection) = attempt(PATIENCE, &what, handshake).await?;
        let wire = Wire::drive(address, connection);
        Ok(Http1 { sender, wire })
    }

    pub async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        self.send(Request::get(path)).await
    }

    pub async fn send(&mut self, request: Request) -> Result<Answer, Failure> {
        let (what, mut request) = (self.wire.describe(&request), request.0);
        let host = HeaderValue::from_str(&self.wire.address.to_string()).expect("an address");
        request.headers_mut().entry(HOST).or_insert(host);
        let exchange = async {
            self.sender.ready().await?;
            complete(self.sender.send_request(request).await?).await
        };
        attempt(PATIENCE, &what, exchange).await
    }

    /// Waits until the peer has closed the connection. A reset is an error.
    pub async fn closed(&self) -> Result<(), Failure> {
        self.wire.closed().await
    }
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Result<Http2, Failure> {
        let what = format!("connecting to {address} with HTTP/2");
        let handshake = http2::handshake(TokioExecutor::new(), open(address).await?);
        let (sender, connection) = attempt(PATIENCE, &what, handshake).await?;
        let wire = Wire::drive(address, connection);
        Ok(Http2 { sender, wire })
    }

    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Request::get(path)).await
    }

    pub async fn send(&self, request: Request) -> Result<Answer, Failure> {
        let what = self.wire.describe(&request) + " with HTTP/2";
        let mut request = request.0;
        let uri = format!("http://{}{}", self.wire.address, request.uri());
        *request.uri_mut() = uri.parse().expect("a URI");
        let mut sender = self.sender.clone();
        let exchange = async {
            sender.ready().await?;
            complete(sender.send_request(request).await?).await
        };
        attempt(PATIENCE, &what, exchange).await
    }

    /// Waits until the peer has closed the connection. A reset is an error.
    pub async fn closed(&self) -> Result<(), Failure> {
        self.wire.closed().await
    }
}

/// The end of the task that drives a connection.
#[derive(Clone, Debug)]
struct Wire {
    address: SocketAddr,
    end: watch::Receiver<Option<Result<(), Failure>>>,
}

impl Wire {
    fn drive(
        address: SocketAddr,
        connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
    ) -> Wire {
        let (publish, end) = watch::channel(None);
        tokio::spawn(async move {
            let result = connection.await;
            let what = format!("connection to {address}");
            publish.send_replace(Some(result.map_err(|error| Failure::caused(what, &error))));
        });
        Wire { address, end }
    }

    async fn closed(&self) -> Result<(), Failure> {
        let what = format!("waiting for {} to close the connection", self.address);
        let mut end = self.end.clone();
        bounded(PATIENCE, &what, async {
            let known = end.wait_for(Option::is_some).await;
            known
                .expect("the driver publishes it")
                .clone()
                .unwrap_or(Ok(()))
        })
        .await
    }

    fn describe(&self, Request(request): &Request) -> String {
        format!("{} {} at {}", request.method(), request.uri(), self.address)
    }
}

async fn open(address: SocketAddr) -> Result<TokioIo<TcpStream>, Failure> {
    let what = format!("connecting to {address}");
    let stream = attempt(PATIENCE, &what, TcpStream::connect(address)).await?;
    // Small requests are measured: Nagle's algorithm must not delay them.
    let _ = stream.set_nodelay(true);
    Ok(TokioIo::new(stream))
}

async fn complete(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}
