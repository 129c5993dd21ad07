//! The settings in `[otlp]`.

use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::{Scheme, Uri};
use axum::http::{HeaderName, HeaderValue};
use garde::Validate;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Deserializer};

use crate::settings::{self, at_least};

/// `[otlp]`
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(crate) struct Otlp {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) headers: Vec<Header>,
    pub(super) authorities: Option<Authorities>,
    #[garde(custom(at_least("10ms")))]
    pub(super) timeout: Duration,
    pub(super) service: Option<String>,
    pub(super) attributes: Vec<Attribute>,
}

/// The URL of the collector. It contains no secret: a URL with a user, a password or a query is refused.
#[derive(Debug, Clone)]
pub(super) struct Endpoint(pub(super) String);

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "a URL such as `http://localhost:4318` or `https://collector.example.org/otlp`, \
             without user, password and query; put a key into otlp.headers";
        // The error must not quote the URL, which may contain a password or a key.
        settings::from_secret_text(value, expected, |text| {
            let uri: Uri = text.parse().ok()?;
            let is_http = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
            let has_user = uri.authority()?.as_str().contains('@');
            if !is_http || has_user || uri.query().is_some() {
                return None;
            }
            settings::redact_as(text);
            Some(Self(text.to_owned()))
        })
    }
}

/// A header of each request to the collector. Its value may be a secret.
#[derive(Debug, Clone)]
pub(super) struct Header(pub(super) HeaderName, pub(super) HeaderValue);

/// Splits `name=value`.
fn split_pair(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    Some((name.trim(), value.trim()))
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        settings::from_secret_text(value, "a header, such as `x-api-key=…`", |text| {
            let (name, value) = split_pair(text)?;
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(true);
            Some(Self(name.parse().ok()?, value))
        })
    }
}

/// The certificate authorities to trust for the collector, instead of the public ones.
#[derive(Debug, Clone)]
pub(super) struct Authorities(pub(super) Arc<RootCertStore>);

impl<'de> Deserialize<'de> for Authorities {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected =
            "certificates of authorities in PEM, each beginning with `-----BEGIN CERTIFICATE-----`";
        settings::from_text(value, expected, |text| {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                roots.add(certificate.ok()?).ok()?;
            }
            (!roots.is_empty()).then(|| Self(Arc::new(roots)))
        })
    }
}

/// A resource attribute of this process: its name and its value.
#[derive(Debug, Clone)]
pub(super) struct Attribute(pub(super) String, pub(super) String);

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let expected = "an attribute, such as `deployment.environment.name=staging`";
        settings::from_text(value, expected, |text| {
            let (name, value) = split_pair(text)?;
            (!name.is_empty()).then(|| Self(name.to_owned(), value.to_owned()))
        })
    }
}
