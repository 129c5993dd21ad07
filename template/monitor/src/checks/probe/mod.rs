//! One check of one URL: is it up, and how long does it take to say so?
//!
//! - It has its time, in which all of its attempts are made: without an answer by then, it is down. Whoever asks may
//!   have less. What that cuts comes out as the attempts before have; where none has ended by then, nothing is known.
//! - What may pass is tried again, after a pause that grows and is never the same.
//! - An attempt that is slow gets a second one beside it. Whichever is answered first counts, and the
//!   other is dropped (a hedge).
//! - Whatever is sent besides first attempts is paid for from one [`Budget`] for all checks.

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

/// How a check came out.
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
    /// It says so itself.
    Status(StatusCode),
    /// There was no answer.
    Failure(Failure),
    /// Nothing on its host has answered lately: it was not asked.
    Host,
}

impl Reason {
    /// In a word that stays as it is.
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

    /// Why it is down, in a word that stays as it is.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Up { .. } => None,
            Self::Down { reason, .. } => Some(reason.kind()),
        }
    }

    /// The status of the answer, if there was one.
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

    /// Whether the host is there, as far as this tells: it has answered, or it was not for it to do so.
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

/// What is to be asked, and how long it may take.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) url: Url,
    /// For an answer, with all attempts.
    pub(super) timeout: Duration,
    /// Of whoever asks.
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

    /// How it comes out: if it has had its time, or an attempt has ended before the deadline.
    pub(super) async fn check(&self, question: &Question) -> Option<Verdict> {
        let began = Instant::now();
        let is_over = began + question.timeout;
        let deadline = question.deadline.min(is_over);
        let last = Last::until(deadline);
        self.budget.earn();
        numbers::attempt("first");
        // In a place of its own: those around it have room for several, and are moved about with that.
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

    /// One request. Its answer is what counts, also if more comes with it than is read.
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

/// How the last attempt has failed that has ended before the deadline.
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
