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
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) headers: Vec<Header>,
    pub(crate) authorities: Option<Authorities>,
    pub(crate) timeout: Duration,
    pub(crate) interval: Duration,
    pub(crate) service: Option<String>,
    pub(crate) attributes: Vec<Attribute>,
}

/// Where the collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(Uri);

/// What goes with every request to the collector. It may be a key.
#[derive(Debug, Clone)]
pub(crate) struct Header(pub(crate) HeaderName, pub(crate) HeaderValue);

/// Whom to believe that the collector is who it says, in the place of those that are known everywhere.
#[derive(Debug, Clone)]
pub(crate) struct Authorities(pub(crate) Arc<RootCertStore>);

/// What is to be known of this process wherever its traces and metrics are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute(pub(crate) String, pub(crate) String);

impl Section for Otlp {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            endpoint: from.value("endpoint"),
            headers: from.value("headers"),
            authorities: from.value("authorities"),
            timeout: from.value("timeout"),
            interval: from.value("interval"),
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
        check.that(
            self.interval.is_zero() || self.interval >= Duration::from_secs(1),
            &["otlp.interval"],
            "must be at least 1s, or 0s for no metrics",
        );
    }
}

impl Endpoint {
    /// Where this kind of thing goes.
    pub(super) fn of(&self, signal: &str) -> String {
        let base = self.0.to_string();
        format!("{}/v1/{signal}", base.trim_end_matches('/'))
    }
}

impl Setting for Endpoint {
    const EXPECTED: &'static str = "a URL such as `http://localhost:4318` or \
         `https://collector.example.org/otlp`, without user, password and query; what names us to the \
         collector belongs into otlp.headers";

    fn parse(value: &ValueKind) -> Option<Self> {
        let uri: Uri = String::parse(value)?.parse().ok()?;
        let is_http = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        let has_user = uri.authority()?.as_str().contains('@');
        (is_http && !has_user && uri.query().is_none()).then_some(Self(uri))
    }
}

/// What is written as `name=value`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_one_or_is_refused() {
        for fine in [
            "http://localhost:4318",
            "https://collector.example.org/otlp/",
        ] {
            let endpoint: Option<Endpoint> = Setting::parse(&fine.into());
            assert!(endpoint.is_some(), "{fine}");
        }
        for bad in [
            "localhost:4318",
            "/v1/traces",
            "grpc://localhost:4317",
            "http://user:canary@localhost:4318",
            "http://localhost:4318/?key=canary",
        ] {
            let endpoint: Option<Endpoint> = Setting::parse(&bad.into());
            assert_eq!(endpoint, None, "{bad}");
        }
    }

    #[test]
    fn a_header_hides_its_value() {
        let header: Header = Setting::parse(&"x-api-key = canary=1".into()).unwrap();
        assert_eq!(
            (header.0.as_str(), header.1.as_bytes()),
            ("x-api-key", &b"canary=1"[..])
        );
        assert!(!format!("{header:?}").contains("canary"));
        for bad in ["x-api-key", "a b=1", "a=line\nbreak", "a=[redacted]"] {
            let header: Option<Header> = Setting::parse(&bad.into());
            assert!(header.is_none(), "{bad}");
        }
    }
}
