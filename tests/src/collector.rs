//! A collector of OpenTelemetry, as far as a service can tell: it takes traces and metrics by HTTP and
//! protobuf, and may be told to refuse, or never to answer.
//!
//! It reads what it gets with the messages that OpenTelemetry itself has made from its definition of
//! the protocol. What it cannot read fails the test that waits for something.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        },
        trace::v1::{
            ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        },
    },
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
};
pub use opentelemetry_proto::tonic::{
    metrics::v1::{Metric, metric::Data},
    trace::v1::Span,
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

/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running collector. Dropped, it is gone, and its connections with it.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    /// In PEM, of who vouches for it, if it is reached by TLS.
    authority: Option<String>,
    shared: Arc<Shared>,
    /// Aborted when this is dropped.
    _accepting: JoinSet<()>,
}

/// What it does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Answers that it has taken all but so many spans, or points of metrics.
    Rejects(i64),
    /// Answers with this status.
    Refuses(u16),
    /// Never answers.
    Stalls,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    heard: Mutex<Heard>,
    /// How many requests have come, whatever has become of them.
    requests: watch::Sender<usize>,
}

/// What it has been told.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Of whatever was taken.
    pub spans: Vec<Span>,
    /// The latest of each name.
    pub metrics: Vec<Metric>,
    /// Who has said so, last.
    pub resource: Vec<KeyValue>,
    /// Everything that came, byte by byte: heads and bodies, also of what was refused.
    pub bytes: Vec<u8>,
    /// The headers of the last request.
    pub headers: HeaderMap,
    /// What could not be read.
    pub nonsense: Vec<String>,
}

impl Collector {
    pub async fn start() -> io::Result<Collector> {
        Collector::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// One that comes where another one was.
    pub async fn at(address: SocketAddr) -> io::Result<Collector> {
        Collector::with(address, None).await
    }

    /// One that is reached by TLS, as `localhost`, with a certificate that it has made itself.
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

    /// What a service is told.
    pub fn endpoint(&self) -> String {
        match self.authority {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// Who vouches for it, if it is reached by TLS: in PEM.
    pub fn authority(&self) -> &str {
        self.authority.as_deref().unwrap_or_default()
    }

    /// From now on.
    pub fn manner(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    pub fn heard(&self) -> Heard {
        lock(&self.shared.heard).clone()
    }

    /// Waits for so many requests since the start, whatever becomes of them.
    #[track_caller]
    pub fn requests(&self, count: usize) -> impl Future<Output = ()> {
        self.wait(format!("{count} requests"), move |_, requests| {
            (requests >= count).then_some(())
        })
    }

    /// Waits for a span that fits, and gives the first.
    #[track_caller]
    pub fn span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> impl Future<Output = Span> {
        self.wait(what.to_owned(), move |heard, _| {
            heard.spans.iter().find(|span| fits(span)).cloned()
        })
    }

    /// Waits for a metric that fits, and gives it.
    #[track_caller]
    pub fn metric(
        &self,
        name: &'static str,
        fits: impl Fn(&Metric) -> bool,
    ) -> impl Future<Output = Metric> {
        self.wait(format!("the metric {name}"), move |heard, _| {
            let mut metrics = heard.metrics.iter();
            metrics
                .find(|metric| metric.name == name && fits(metric))
                .cloned()
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
                    requests.changed().await.expect("its sender is here");
                }
            };
            let found = timeout(PATIENCE, found).await;
            found.unwrap_or_else(|_| panic!("{caller}: no {what} in {:#?}", self.heard().spans))
        }
    }
}

/// What an attribute says, as text.
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

/// The value of the series that has these labels, and no others: of a histogram, the count.
pub fn value(metric: &Metric, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |attributes: &[KeyValue]| {
        let same =
            |(name, value): &(&str, &str)| attribute(attributes, name).as_deref() == Some(value);
        attributes.len() == labels.len() && labels.iter().all(same)
    };
    let number = |points: &[opentelemetry_proto::tonic::metrics::v1::NumberDataPoint]| {
        use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
        let point = points.iter().find(|point| has(&point.attributes))?;
        match point.value? {
            Value::AsDouble(number) => Some(number),
            Value::AsInt(number) => panic!("{} is the whole number {number}", metric.name),
        }
    };
    match metric.data.as_ref()? {
        Data::Gauge(gauge) => number(&gauge.data_points),
        Data::Sum(sum) => number(&sum.data_points),
        Data::Histogram(histogram) => {
            let points = &histogram.data_points;
            let point = points.iter().find(|point| has(&point.attributes))?;
            let total: u64 = point.bucket_counts.iter().sum();
            assert_eq!(total, point.count, "{point:?}");
            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
            u32::try_from(point.count).ok().map(f64::from)
        }
        other => panic!("{} is {other:?}", metric.name),
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match tls {
                None => talk(stream, shared).await,
                // Whoever does not believe us says so by leaving.
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
    // A service that is killed leaves in the middle of a sentence.
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
        if matches!(manner, Manner::Takes | Manner::Rejects(_))
            && let Err(error) = heard.take(parts.uri.path(), &body)
        {
            heard.nonsense.push(format!("{}: {error}", parts.uri));
        }
    }
    shared.requests.send_modify(|count| *count += 1);
    let status = match manner {
        Manner::Takes | Manner::Rejects(_) => 200,
        Manner::Refuses(status) => status,
        Manner::Stalls => match std::future::pending::<Infallible>().await {},
    };
    let body = match manner {
        Manner::Rejects(count) => rejection(parts.uri.path(), count),
        _ => Vec::new(),
    };
    let mut answer = Response::new(Full::from(body));
    let kind = HeaderValue::from_static("application/x-protobuf");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    *answer.status_mut() = hyper::StatusCode::from_u16(status).expect("a status");
    Ok(answer)
}

fn rejection(path: &str, count: i64) -> Vec<u8> {
    let error_message = "too old".to_owned();
    if path == "/v1/metrics" {
        let partial_success = Some(ExportMetricsPartialSuccess {
            rejected_data_points: count,
            error_message,
        });
        ExportMetricsServiceResponse { partial_success }.encode_to_vec()
    } else {
        let partial_success = Some(ExportTracePartialSuccess {
            rejected_spans: count,
            error_message,
        });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    }
}

impl Heard {
    fn take(&mut self, path: &str, body: &[u8]) -> Result<(), String> {
        let of = |resource: Option<Resource>| resource.map(|it| it.attributes).unwrap_or_default();
        let kind = self.headers.get("content-type");
        if kind.is_none_or(|kind| kind != "application/x-protobuf") {
            return Err(format!("it is {kind:?}"));
        }
        match path {
            "/v1/traces" => {
                let request = ExportTraceServiceRequest::decode(body);
                for from in request.map_err(|error| error.to_string())?.resource_spans {
                    self.resource = of(from.resource);
                    let spans = from.scope_spans.into_iter().flat_map(|scope| scope.spans);
                    self.spans.extend(spans);
                }
            }
            "/v1/metrics" => {
                let request = ExportMetricsServiceRequest::decode(body);
                for from in request.map_err(|error| error.to_string())?.resource_metrics {
                    self.resource = of(from.resource);
                    let metrics = from
                        .scope_metrics
                        .into_iter()
                        .flat_map(|scope| scope.metrics);
                    self.metrics = metrics.collect();
                }
            }
            _ => return Err("no path of OTLP".to_owned()),
        }
        Ok(())
    }
}

/// Nothing that is done under it can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
