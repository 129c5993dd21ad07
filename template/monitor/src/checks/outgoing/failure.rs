//! Why there is no response.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use hyper_util::client::legacy;

/// Why a request got no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::checks) enum Failure {
    #[error("{0} is not a public address (monitor.allow_private)")]
    Refused(IpAddr),
    #[error("cannot resolve the host: {0}")]
    Dns(String),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("no response in time")]
    Timeout,
    #[error("the response is longer than {0} bytes")]
    TooLarge(usize),
    #[error("more than {0} redirects")]
    TooManyRedirects(u32),
    /// The connection ended before the response did.
    #[error("the response was cut off: {0}")]
    Broken(String),
    #[error("malformed HTTP: {0}")]
    Protocol(String),
}

impl Failure {
    /// The kind of failure, as a stable word.
    pub(in crate::checks) fn kind(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused_address",
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout => "timeout",
            Self::TooLarge(_) => "too_large",
            Self::TooManyRedirects(_) => "too_many_redirects",
            Self::Broken(_) => "broken",
            Self::Protocol(_) => "protocol",
        }
    }

    /// Whether a retry may succeed.
    pub(in crate::checks) fn may_be_retried(&self) -> bool {
        matches!(
            self,
            Self::Dns(_) | Self::Connect(_) | Self::Timeout | Self::Broken(_)
        )
    }

    /// Whether the host seems to be absent.
    pub(in crate::checks) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Dns(_) | Self::Connect(_) | Self::Tls(_) | Self::Timeout | Self::Broken(_)
        )
    }

    /// The failure of a connection, before TLS.
    pub(super) fn of_connecting(error: &(dyn Error + 'static)) -> Self {
        if let Some(failure) = find::<Self>(error) {
            return failure.clone();
        }
        match find::<io::Error>(error) {
            Some(cause) if cause.kind() == io::ErrorKind::TimedOut => Self::Timeout,
            Some(cause) => Self::Connect(cause.to_string()),
            None => Self::Connect(error.to_string()),
        }
    }

    pub(super) fn of_request(error: &legacy::Error) -> Self {
        if let Some(failure) = find::<Self>(error) {
            return failure.clone();
        }
        if error.is_connect() {
            // Whatever fails before there is TLS is a failure of ours already.
            return Self::Tls(innermost(error));
        }
        Self::of_answer(error)
    }

    pub(super) fn of_answer(error: &(dyn Error + 'static)) -> Self {
        match find::<hyper::Error>(error) {
            Some(cause) if cause.is_parse() => Self::Protocol(cause.to_string()),
            Some(_) | None => Self::Broken(innermost(error)),
        }
    }
}

/// The error itself or one of its causes, if it is of this type.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let last = causes(error).last().unwrap_or(error);
    last.to_string()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}
