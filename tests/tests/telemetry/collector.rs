//! A collector of OpenTelemetry: it accepts traces over HTTP and protobuf, and refuses or stalls
//! when a test asks for it.
//!
//! It decodes requests with the messages of OpenTelemetry itself. A request that it cannot decode
//! fails the test that waits for spans.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
pub(crate) use opentelemetry_proto::tonic::trace::v1::Span;
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
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    /// Its certificate in PEM; empty without TLS.
    pub(crate) authority: String,
    state: State,
    /// Aborted on drop.
    _accepting: JoinSet<()>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Manner {
    #[default]
    Takes,
    /// Answers with this status.
    Refuses(u16),
    /// Never answers.
    Stalls,
}

type State = Arc<watch::Sender<(Manner, Heard)>>;

/// What the collector has received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// The number of requests, accepted or not.
    requests: usize,
    /// The accepted spans.
    pub(crate) spans: Vec<Span>,
    /// The attributes of the last resource.
    pub(crate) resource: Vec<KeyValue>,
    /// The heads and bodies of all requests, including refused ones.
    pub(crate) bytes: Vec<u8>,
    /// The headers of the last request.
    pub(crate) headers: HeaderMap,
    /// The requests that could not be decoded.
    pub(crate) nonsense: Vec<String>,
}

impl Collector {
    pub(crate) async fn start() -> io::Result<Collector> {
        Collector::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn at(address: SocketAddr) -> io::Result<Collector> {
        Collector::with(address, None).await
    }

    /// Starts a collector behind TLS, as `localhost`, with a self-signed certificate.
    pub(crate) async fn by_tls() -> io::Result<Collector> {
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
        let state = State::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls, Arc::clone(&state)));
        Ok(Collector {
            address,
            authority: authority.unwrap_or_default(),
            state,
            _accepting: accepting,
        })
    }

    /// The URL for `otlp.endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        match &*self.authority {
            "" => format!("http://{}", self.address),
            _ => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// Sets how it answers the next requests.
    pub(crate) fn manner(&self, manner: Manner) {
        self.state.send_modify(|(current, _)| *current = manner);
    }

    pub(crate) fn heard(&self) -> Heard {
        self.state.borrow().1.clone()
    }

    /// Waits until this many requests have arrived since the start, accepted or not.
    pub(crate) async fn requests(&self, count: usize) {
        let look = |heard: &Heard| (heard.requests >= count).then_some(());
        self.wait(&format!("{count} requests"), look).await;
    }

    /// Waits for the first span that matches, and returns it.
    pub(crate) async fn span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Span {
        let look = |heard: &Heard| heard.spans.iter().find(|span| fits(span)).cloned();
        self.wait(what, look).await
    }

    async fn wait<T>(&self, what: &str, look: impl Fn(&Heard) -> Option<T>) -> T {
        let (mut found, mut state) = (None, self.state.subscribe());
        let end = state.wait_for(|(_, heard)| {
            found = look(heard);
            found.is_some() || !heard.nonsense.is_empty()
        });
        _ = timeout(PATIENCE, end).await;
        let Heard {
            spans, nonsense, ..
        } = self.heard();
        found.unwrap_or_else(|| panic!("no {what} in {spans:#?} {nonsense:?}"))
    }
}

/// The value of an attribute, as text.
pub(crate) fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let pair = attributes.iter().find(|pair| pair.key == name)?;
    Some(match pair.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: State) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        connections.spawn(async move {
            match tls {
                None => talk(stream, state).await,
                // A client that does not trust the certificate disconnects.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, state).await;
                    }
                }
            }
        });
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin, state: State) {
    let service = service_fn(|request| answer(request, &state));
    // A service that is killed disconnects in the middle of a request.
    _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    state: &State,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let manner = state.borrow().0;
    state.send_modify(|(_, heard)| {
        heard.requests += 1;
        heard.bytes.extend(format!("{parts:?}\n").bytes());
        heard.bytes.extend(&body);
        heard.headers = parts.headers;
        if matches!(manner, Manner::Takes)
            && let Err(error) = heard.take(parts.uri.path(), &body)
        {
            heard.nonsense.push(format!("{}: {error}", parts.uri));
        }
    });
    let status = match manner {
        Manner::Takes => 200,
        Manner::Refuses(status) => status,
        Manner::Stalls => std::future::pending().await,
    };
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
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
