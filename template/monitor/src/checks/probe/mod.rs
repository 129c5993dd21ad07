//! One check of one URL: is it up, and how long does its response take?
//!
//! - A check has a timeout for all its attempts. Without a response by then, it is down. The caller's
//!   deadline may be shorter: it ends the check with the failure of the attempts before. Without any, the
//!   result is unknown.
//! - Transient failures are retried, after a growing pause with jitter.
//! - A slow attempt gets a second one beside it. The first response counts, and the other attempt is dropped
//!   (hedging).
//! - All further attempts take from one [`Budget`] that all checks share.

mod attempts;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use garde::Validate;
use mainstay::settings::at_least;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::budget::Budget;
use super::numbers;
use super::outgoing::{Failure, Outgoing};

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Settings {
    pub(super) retries: usize,
    #[garde(custom(at_least("1ms")))]
    pub(super) retry_pause: Duration,
    #[garde(range(max = 100))]
    pub(super) retry_percent: u32,
    pub(super) hedge_after: Option<Duration>,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Up {
        status: StatusCode,
        latency: Duration,
    },
    Down {
        reason: Reason,
        latency: Duration,
    },
}

/// Why something is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// The status of the response.
    Status(StatusCode),
    /// There was no response.
    Failure(Failure),
    /// The breaker of its host is open: there was no request.
    Host,
}

impl Reason {
    /// A stable word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Failure(failure) => failure.kind(),
            Self::Host => "host_down",
        }
    }

    fn may_pass(&self) -> bool {
        match self {
            Self::Status(status) => matches!(
                *status,
                StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            Self::Failure(failure) => failure.may_be_retried(),
            Self::Host => false,
        }
    }
}

impl Verdict {
    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    /// Why it is down, as a stable word.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Up { .. } => None,
            Self::Down { reason, .. } => Some(reason.kind()),
        }
    }

    /// The status of the response, if there was one.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Up { status, .. }
            | Self::Down {
                reason: Reason::Status(status),
                ..
            } => Some(*status),
            Self::Down { .. } => None,
        }
    }

    pub(super) fn latency(&self) -> Duration {
        match self {
            Self::Up { latency, .. } | Self::Down { latency, .. } => *latency,
        }
    }

    /// Whether the host is present: it has responded, or the failure was not its own.
    pub(super) fn speaks_for_host(&self) -> bool {
        match self {
            Self::Up { .. } => true,
            Self::Down { reason, .. } => match reason {
                Reason::Status(_) => true,
                Reason::Failure(failure) => !failure.is_silence(),
                Reason::Host => false,
            },
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Probe {
    outgoing: Outgoing,
    budget: Arc<Budget>,
    settings: Settings,
}

/// The URL to check, and its time limits.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) url: Url,
    /// The timeout, for all attempts.
    pub(super) timeout: Duration,
    /// The deadline of the caller.
    pub(super) deadline: Instant,
}

impl Probe {
    pub(super) fn new(outgoing: Outgoing, settings: &Settings) -> Self {
        Self {
            outgoing,
            budget: Arc::new(Budget::new(settings.retry_percent)),
            settings: settings.clone(),
        }
    }

    /// The result, if the timeout has passed, or an attempt has ended before the deadline.
    pub(super) async fn check(&self, question: &Question) -> Option<Verdict> {
        let began = Instant::now();
        let is_over = began + question.timeout;
        let deadline = question.deadline.min(is_over);
        let last = Last::until(deadline);
        self.budget.earn();
        numbers::attempt("first");
        // Boxed, because the surrounding futures contain several of these.
        let one = || Box::pin(self.attempt(question, &last));
        let after = self.settings.hedge_after;
        let hedged = || attempts::hedged(one, after, || self.affords("hedge"));
        let asked = attempts::retried(hedged, &self.settings, Reason::may_pass, || {
            self.affords("retry")
        });
        if let Ok(Ok((status, latency))) = timeout_at(deadline, asked).await {
            return Some(Verdict::Up { status, latency });
        }
        let latency = began.elapsed();
        let had_its_time = is_over < question.deadline;
        let timeout = had_its_time.then_some(Reason::Failure(Failure::Timeout));
        let reason = last.get().or(timeout);
        reason.map(|reason| Verdict::Down { reason, latency })
    }

    async fn attempt(
        &self,
        question: &Question,
        last: &Last,
    ) -> Result<(StatusCode, Duration), Reason> {
        let asked = self.request(question).await;
        asked.inspect_err(|reason| last.note(reason))
    }

    /// One request. The status of the response counts, also if the body exceeds the limit.
    async fn request(&self, question: &Question) -> Result<(StatusCode, Duration), Reason> {
        let began = Instant::now();
        let answer = self.outgoing.get(&question.url, question.timeout).await;
        let answer = answer.map_err(Reason::Failure)?;
        let (status, latency) = (answer.status(), began.elapsed());
        match answer.read().await {
            Ok(_) | Err(Failure::TooLarge(_)) => {}
            Err(failure) => return Err(Reason::Failure(failure)),
        }
        if status.is_client_error() || status.is_server_error() {
            return Err(Reason::Status(status));
        }
        Ok((status, latency))
    }

    fn affords(&self, what: &'static str) -> bool {
        let affords = self.budget.spend();
        numbers::attempt(if affords { what } else { "unaffordable" });
        affords
    }
}

/// The failure of the last attempt that ended before the deadline.
#[derive(Debug)]
struct Last {
    deadline: Instant,
    reason: Mutex<Option<Reason>>,
}

impl Last {
    fn until(deadline: Instant) -> Self {
        let reason = Mutex::default();
        Self { deadline, reason }
    }

    fn note(&self, reason: &Reason) {
        if Instant::now() < self.deadline {
            let mut last = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(reason.clone());
        }
    }

    fn get(self) -> Option<Reason> {
        let last = self.reason.into_inner();
        last.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(in crate::checks) mod tests;
