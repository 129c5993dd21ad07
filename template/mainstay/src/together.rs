//! Concurrent parts of a start (structured concurrency): it takes as long as the slowest part, and not as long
//! as all of them together.
//!
//! - If a required part fails, by an error or a panic, the others are dropped.
//! - The error names every part that has failed by then.
//! - If an optional part fails or takes too long, that is logged, and the start goes on.
//! - No part outlives [`Together::join`], also if its future is dropped. So a part may borrow.
//!
//! The parts share one task: a part that computes for long delays the others.

use std::fmt;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use crate::panics;
use crate::supervisor::Outcome;

/// Parts that run at the same time, once [`join`](Self::join) is awaited.
#[derive(Default)]
#[must_use = "nothing runs before `join`"]
pub struct Together<'a> {
    parts: FuturesUnordered<BoxFuture<'a, Result<(), Failure>>>,
}

/// A required part that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The name of the part.
    pub name: &'static str,
    /// The message of its error or its panic.
    pub cause: String,
}

/// The required parts that failed, in that order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failures(pub Vec<Failure>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Failure { name, cause }) in self.0.iter().enumerate() {
            let between = if place == 0 { "" } else { "; " };
            write!(f, "{between}{name}: {cause}")?;
        }
        Ok(())
    }
}

impl<'a> Together<'a> {
    /// No parts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part that must succeed.
    pub fn required<F>(self, name: &'static str, part: F) -> Self
    where
        F: Future<Output: Outcome> + Send + 'a,
    {
        let part = async move {
            let failed = failure(part).await;
            failed.map_or(Ok(()), |cause| Err(Failure { name, cause }))
        };
        self.parts.push(part.boxed());
        self
    }

    /// Adds a part that may fail, or take longer than this time: that is logged.
    pub fn optional<F>(self, name: &'static str, within: Duration, part: F) -> Self
    where
        F: Future<Output: Outcome> + Send + 'a,
    {
        let part = async move {
            let failed = timeout(within, failure(part)).await;
            let failed = failed.unwrap_or_else(|_| Some("it took too long".to_owned()));
            if let Some(cause) = failed {
                tracing::warn!(name, cause, "going on without it");
            }
            Ok(())
        };
        self.parts.push(part.boxed());
        self
    }

    /// Runs all parts to their end.
    ///
    /// # Errors
    ///
    /// If a required part fails.
    pub async fn join(mut self) -> Result<(), Failures> {
        while let Some(ended) = self.parts.next().await {
            if let Err(first) = ended {
                return Err(self.end(first));
            }
        }
        Ok(())
    }

    /// Drops the parts that still run, and collects those that have failed in the meantime.
    fn end(mut self, first: Failure) -> Failures {
        let ended = std::iter::from_fn(|| self.parts.next().now_or_never().flatten());
        let also = ended.filter_map(Result::err);
        Failures([first].into_iter().chain(also).collect())
    }
}

impl fmt::Debug for Together<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together")
            .field("parts", &self.parts.len())
            .finish()
    }
}

/// Why it failed, if it did; a panic is one way.
async fn failure(part: impl Future<Output: Outcome>) -> Option<String> {
    let ended = async { part.await.into_failure() };
    panics::caught(ended).await.unwrap_or_else(Some)
}

#[cfg(test)]
mod tests;
