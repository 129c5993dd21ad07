//! `[otlp]`

use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::{Scheme, Uri};
use axum::http::{HeaderName, HeaderValue};
use config::ValueKind;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::settings::{Check, REDACTED, Reader, Section, Setting};

/// `[otlp]`
#[derive(Debug, Clone)]
pub(crate) struct Otlp {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) headers: Vec<Header>,
    pub(super) authorities: Option<Authorities>,
    pub(super) timeout: Duration,
    pub(super) service: Option<String>,
    pub(super) attributes: Vec<Attribute>,
}

/// The URL of the collector. It has no secret: a URL with a user, a password or a query is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint(String);

/// A header of each request to the collector. It may be a key.
#[derive(Debug, Clone)]
pub(super) struct Header(pub(super) HeaderName, pub(super) HeaderValue);

/// The certificate authorities of the collector, instead of the public ones.
#[derive(Debug, Clone)]
pub(super) struct Authorities(pub(super) Arc<RootCertStore>);

/// An attribute of this process, with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute(pub(super) String, pub(super) String);

impl Section for Otlp {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            endpoint: from.value("endpoint"),
            headers: from.value("headers"),
            authorities: from.value("authorities"),
            timeout: from.value("timeout"),
            service: from.value("service"),
            attributes: from.value("attributes"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.timeout >= Duration::from_millis(10),
            &["otlp.timeout"],
            "must be at least 10ms",
        );
    }
}

impl Endpoint {
    /// Where traces go.
    pub(super) fn of_traces(&self) -> String {
        format!("{}/v1/traces", self.0.trim_end_matches('/'))
    }
}

impl Setting for Endpoint {
    const EXPECTED: &'static str = "a URL such as `http://localhost:4318` or \
         `https://collector.example.org/otlp`, without user, password and query; a key belongs into \
         otlp.headers";
    // A refused URL may have a password or a key in it.
    const SECRET: bool = true;

    fn parse(value: &ValueKind) -> Option<Self> {
        let text = String::parse(value)?;
        let uri: Uri = text.parse().ok()?;
        let is_http = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        let has_user = uri.authority()?.as_str().contains('@');
        (is_http && !has_user && uri.query().is_none()).then_some(Self(text))
    }

    fn redacted(&self) -> String {
        self.0.clone()
    }
}

/// Splits `name=value`.
fn pair(value: &ValueKind) -> Option<(String, String)> {
    let text = String::parse(value)?;
    let (name, value) = text.split_once('=')?;
    Some((name.trim().to_owned(), value.trim().to_owned()))
}

impl Setting for Header {
    const EXPECTED: &'static str = "a header, such as `x-api-key=…`";
    const SECRET: bool = true;

    fn parse(value: &ValueKind) -> Option<Self> {
        let (name, value) = pair(value).filter(|(_, value)| !value.contains(REDACTED))?;
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some(Self(name.parse().ok()?, value))
    }
}

impl Setting for Authorities {
    const EXPECTED: &'static str =
        "certificates of authorities in PEM, each from `-----BEGIN CERTIFICATE-----` on";

    fn parse(value: &ValueKind) -> Option<Self> {
        let text = String::parse(value)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
            roots.add(certificate.ok()?).ok()?;
        }
        (!roots.is_empty()).then(|| Self(Arc::new(roots)))
    }
}

impl Setting for Attribute {
    const EXPECTED: &'static str = "an attribute, such as `deployment.environment.name=staging`";

    fn parse(value: &ValueKind) -> Option<Self> {
        let (name, value) = pair(value)?;
        (!name.is_empty()).then_some(Self(name, value))
    }
}
