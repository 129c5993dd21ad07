//! Connections to where it is allowed. An address is judged after its name was looked up and before it is
//! connected to, and there is no way around that: what is judged is what is used.

use std::fmt;
use std::future::ready;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use axum::http::Uri;
use futures_util::future::BoxFuture;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tower::Service;

use super::Failure;

/// Where a name leads.
pub(super) trait Resolve: Send + Sync + 'static {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// As the system has it.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

pub(super) type Connector = HttpsConnector<Guarded>;

/// Connects, with TLS where the URL wants that, by the authorities that are compiled in.
pub(super) fn connector(resolver: Arc<dyn Resolve>, allows: Judge, timeout: Duration) -> Connector {
    let mut connector = HttpConnector::new_with_resolver(Judged { resolver, allows });
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(Guarded { connector, allows })
}

/// Whether an address may be connected to.
pub(super) type Judge = fn(IpAddr) -> bool;

/// A resolver that gives only what is allowed.
#[derive(Clone)]
pub(super) struct Judged {
    resolver: Arc<dyn Resolve>,
    allows: Judge,
}

impl Service<Name> for Judged {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.resolver.resolve(name.as_str().to_owned());
        let allows = self.allows;
        Box::pin(async move {
            let found = found
                .await
                .map_err(|error| Failure::Dns(error.to_string()))?;
            let (allowed, refused): (Vec<_>, Vec<_>) =
                found.into_iter().partition(|address| allows(*address));
            match (&allowed[..], &refused[..]) {
                ([], [refused, ..]) => Err(Failure::Refused(*refused)),
                ([], []) => Err(Failure::Dns("it has no address".to_owned())),
                _ => {
                    // The port is that of the URL.
                    let allowed = allowed.into_iter().map(|address| (address, 0).into());
                    Ok(allowed.collect::<Vec<_>>().into_iter())
                }
            }
        })
    }
}

/// The way to a host, also to one without a name, for which no resolver is asked.
#[derive(Clone)]
pub(super) struct Guarded {
    connector: HttpConnector<Judged>,
    allows: Judge,
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let ready = self.connector.poll_ready(cx);
        ready.map_err(|error| Failure::of_connecting(&error))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse() {
            Ok(address) if !(self.allows)(address) => {
                Box::pin(ready(Err(Failure::Refused(address))))
            }
            Ok(_) | Err(_) => {
                let connecting = self.connector.call(uri);
                Box::pin(async move {
                    let connected = connecting.await;
                    connected.map_err(|error| Failure::of_connecting(&error))
                })
            }
        }
    }
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").finish_non_exhaustive()
    }
}
