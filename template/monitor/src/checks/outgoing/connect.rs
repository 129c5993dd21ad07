//! Connections to allowed addresses only. The address is checked after the name is resolved and before the
//! connection is made, and the checked address is the one that is used.

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

/// The addresses of a name.
pub(super) trait Resolve: Send + Sync + 'static {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the system.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

pub(super) type Connector = HttpsConnector<AllowedConnector>;

/// Connects, with TLS if the URL needs it, using the compiled-in certificate authorities.
pub(super) fn connector(
    resolver: Arc<dyn Resolve>,
    allows: IsAllowed,
    timeout: Duration,
) -> Connector {
    let mut connector = HttpConnector::new_with_resolver(AllowedOnly { resolver, allows });
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(timeout));
    connector.set_nodelay(true);
    HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(AllowedConnector { connector, allows })
}

/// Whether the service may connect to an address.
pub(super) type IsAllowed = fn(IpAddr) -> bool;

/// A resolver that returns allowed addresses only.
#[derive(Clone)]
pub(super) struct AllowedOnly {
    resolver: Arc<dyn Resolve>,
    allows: IsAllowed,
}

impl Service<Name> for AllowedOnly {
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
                ([], []) => Err(Failure::Dns("the name has no address".to_owned())),
                _ => {
                    // The port comes from the URL.
                    let allowed = allowed.into_iter().map(|address| (address, 0).into());
                    Ok(allowed.collect::<Vec<_>>().into_iter())
                }
            }
        })
    }
}

/// Connects to a host, also to an address literal, for which no resolver is used.
#[derive(Clone)]
pub(super) struct AllowedConnector {
    connector: HttpConnector<AllowedOnly>,
    allows: IsAllowed,
}

impl Service<Uri> for AllowedConnector {
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

impl fmt::Debug for AllowedConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllowedConnector").finish_non_exhaustive()
    }
}
