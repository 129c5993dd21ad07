//! Several things at once, in a scope that they do not leave (structured concurrency): a start that takes as long
//! as its slowest part, and not as long as all of them.
//!
//! - When a part that is needed fails, by an error or a panic, the others are not waited for: they end where they
//!   are.
//! - Whatever has failed by then is told together, each part by its name.
//! - A part that is only wanted may fail, or take too long: that is logged, and nothing else.
//! - Nothing is left running, also if whoever waits for all of it does so no more. So a part can borrow what
//!   outlives the scope.
//!
//! The parts share one task, so that one which computes for long keeps the others from beginning.

use std::fmt;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use crate::panics;
use crate::supervisor::Outcome;

/// Things that are to be done at once. Nothing begins before [`done`](Self::done).
#[derive(Default)]
#[must_use = "nothing begins before `done`"]
pub struct Together<'a> {
    parts: FuturesUnordered<BoxFuture<'a, Result<(), Failure>>>,
}

/// What went wrong with one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub name: &'static str,
    pub cause: String,
}

/// All that went wrong, in the order in which it did.
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
    pub fn new() -> Self {
        Self::default()
    }

    /// With a part that must succeed.
    pub fn needs<F>(self, name: &'static str, part: F) -> Self
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

    /// With a part that is better to have, if it can be had within this time.
    pub fn wants<F>(self, name: &'static str, within: Duration, part: F) -> Self
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

    /// Does all of it.
    ///
    /// # Errors
    ///
    /// When a part that is needed has failed.
    pub async fn done(mut self) -> Result<(), Failures> {
        while let Some(ended) = self.parts.next().await {
            if let Err(first) = ended {
                return Err(self.end(first));
            }
        }
        Ok(())
    }

    /// Ends all that is under way. What has failed at the same moment is told as well.
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
