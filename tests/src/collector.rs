//! A collector of OpenTelemetry: it accepts traces over HTTP and protobuf, and refuses or stalls
//! when a test asks for it.
//!
//! It decodes requests with the messages of OpenTelemetry itself. A request that it cannot decode
//! fails the test that waits for spans.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, pki_types::PrivateKeyDer},
};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    /// Its certificate in PEM, if it is behind TLS.
    authority: Option<String>,
    shared: Arc<Shared>,
    /// Aborted on drop.
    _accepting: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Answers with this status.
    Refuses(u16),
    /// Never answers.
    Stalls,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    heard: Mutex<Heard>,
    /// The number of requests so far, accepted or not.
    requests: watch::Sender<usize>,
}

/// What the collector has received.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The accepted spans.
    pub spans: Vec<Span>,
    /// The attributes of the last resource.
    pub resource: Vec<KeyValue>,
    /// The heads and bodies of all requests, including refused ones.
    pub bytes: Vec<u8>,
    /// The headers of the last request.
    pub headers: HeaderMap,
    /// The requests that could not be decoded.
    pub nonsense: Vec<String>,
}

impl Collector {
    pub async fn start() -> io::Result<Collector> {
        Collector::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub async fn at(address: SocketAddr) -> io::Result<Collector> {
        Collector::with(address, None).await
    }

    /// Starts a collector behind TLS, as `localhost`, with a self-signed certificate.
    pub async fn by_tls() -> io::Result<Collector> {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let key = key.map_err(io::Error::other)?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .map_err(io::Error::other)?;
        let tls = (TlsAcceptor::from(Arc::new(config)), made.cert.pem());
        Collector::with(SocketAddr::from(([127, 0, 0, 1], 0)), Some(tls)).await
    }

    async fn with(
        address: SocketAddr,
        tls: Option<(TlsAcceptor, String)>,
    ) -> io::Result<Collector> {
        let (tls, authority) = tls.unzip();
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            manner: Mutex::new(Manner::Takes),
            heard: Mutex::default(),
            requests: watch::Sender::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls, Arc::clone(&shared)));
        Ok(Collector {
            address,
            authority,
            shared,
            _accepting: accepting,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for `otlp.endpoint`.
    pub fn endpoint(&self) -> String {
        match self.authority {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// The certificate in PEM, if the collector uses TLS.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or_default()
    }

    /// Sets how it answers the next requests.
    pub fn manner(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    pub fn heard(&self) -> Heard {
        lock(&self.shared.heard).clone()
    }

    /// Waits until this many requests have arrived since the start, accepted or not.
    #[track_caller]
    pub fn requests(&self, count: usize) -> impl Future<Output = ()> {
        self.wait(format!("{count} requests"), move |_, requests| {
            (requests >= count).then_some(())
        })
    }

    /// Waits for the first span that matches, and returns it.
    #[track_caller]
    pub fn span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> impl Future<Output = Span> {
        self.wait(what.to_owned(), move |heard, _| {
            heard.spans.iter().find(|span| fits(span)).cloned()
        })
    }

    #[track_caller]
    fn wait<T>(
        &self,
        what: String,
        mut look: impl FnMut(&Heard, usize) -> Option<T>,
    ) -> impl Future<Output = T> {
        let caller = std::panic::Location::caller();
        let mut requests = self.shared.requests.subscribe();
        async move {
            let found = async {
                loop {
                    let count = *requests.borrow_and_update();
                    let heard = self.heard();
                    assert!(heard.nonsense.is_empty(), "{caller}: {:?}", heard.nonsense);
                    if let Some(found) = look(&heard, count) {
                        return found;
                    }
                    requests.changed().await.expect("the sender is alive");
                }
            };
            let found = timeout(PATIENCE, found).await;
            found.unwrap_or_else(|_| panic!("{caller}: no {what} in {:#?}", self.heard().spans))
        }
    }
}

/// The value of an attribute, as text.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let pair = attributes.iter().find(|pair| pair.key == name)?;
    Some(match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match tls {
                None => talk(stream, shared).await,
                // A client that does not trust the certificate disconnects.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // A service that is killed disconnects in the middle of a request.
    _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let manner = *lock(&shared.manner);
    {
        let mut heard = lock(&shared.heard);
        heard.bytes.extend(format!("{parts:?}\n").bytes());
        heard.bytes.extend(&body);
        heard.headers = parts.headers;
        if manner == Manner::Takes
            && let Err(error) = heard.take(parts.uri.path(), &body)
        {
            heard.nonsense.push(format!("{}: {error}", parts.uri));
        }
    }
    shared.requests.send_modify(|count| *count += 1);
    let status = match manner {
        Manner::Takes => 200,
        Manner::Refuses(status) => status,
        Manner::Stalls => std::future::pending().await,
    };
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = hyper::StatusCode::from_u16(status).expect("a status");
    Ok(answer)
}

impl Heard {
    fn take(&mut self, path: &str, body: &[u8]) -> Result<(), String> {
        let kind = self.headers.get("content-type");
        if kind.is_none_or(|kind| kind != "application/x-protobuf") {
            return Err(format!("its content-type is {kind:?}"));
        }
        if path != "/v1/traces" {
            return Err("the path is not that of traces".to_owned());
        }
        let request = ExportTraceServiceRequest::decode(body);
        for from in request.map_err(|error| error.to_string())?.resource_spans {
            self.resource = from.resource.map(|it| it.attributes).unwrap_or_default();
            let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.extend(spans);
        }
        Ok(())
    }
}

/// No code under the lock can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
