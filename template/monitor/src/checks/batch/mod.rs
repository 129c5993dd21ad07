//! Checks many URLs now, for a client that waits for the results.
//!
//! - Each URL has its own answer, in the order of the request, also if it occurs twice: its result, or why
//!   there is none. One failure does not fail the batch.
//! - A batch ends while there is still time for its response. Unfinished checks are `not_in_time`. After
//!   `max_failures` failures, the rest is `given_up`.
//! - A check that is given up, not in time, or no longer waited for is not begun, or dropped.
//! - At most `monitor.batch_at_once` checks of a batch run at once. Hosts take turns, so that a slow host
//!   with many URLs does not block the others. A check waits for a permit of its [host](super::hosts) before
//!   it enters the [queue](super::queue), where it would block others.
//!
//! Nothing is recorded, because the URLs belong to no target.

pub(super) mod routes;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use garde::Validate;
use mainstay::context::RequestContext;
use mainstay::settings;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::hosts::{self, Hosts, Permit};
use super::numbers;
use super::probe::{Reason, Verdict};
use super::queue::Queue;
use crate::timestamp::Timestamp;

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Deserialize, Validate)]
pub(super) struct Settings {
    #[garde(range(min = 1, max = MOST))]
    pub(super) max_batch: usize,
    #[garde(range(min = 1, max = MOST))]
    pub(super) batch_at_once: usize,
    #[garde(custom(is_whole_seconds))]
    pub(super) batch_timeout: Duration,
}

/// The largest allowed batch.
const MOST: usize = 10_000;

/// The longest timeout of a check of a batch, in seconds.
const LONGEST: u64 = 3600;

fn is_whole_seconds(timeout: &Duration, &(): &()) -> garde::Result {
    let is_whole = timeout.subsec_nanos() == 0 && (1..=LONGEST).contains(&timeout.as_secs());
    settings::rule(is_whole, &[], "must be whole seconds, from one to an hour")
}

/// The time that is reserved for the response: a tenth of the time that is left, up to this limit.
const FOR_THE_ANSWER: Duration = Duration::from_millis(500);

/// A batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) urls: Vec<Url>,
    /// The timeout of each check, with all its attempts.
    pub(super) timeout: Duration,
    pub(super) max_failures: usize,
}

/// The end of one check.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Checked(Checked),
    Missed(Missed),
}

#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) at: Timestamp,
    pub(super) verdict: Verdict,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// Too many others had failed.
    GivenUp,
    NotInTime,
    /// An internal error.
    Failed,
}

/// A queued check of a batch.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) url: Url,
    pub(super) timeout: Duration,
    pub(super) permit: Permit,
    /// The context of its request.
    pub(super) context: Option<RequestContext>,
    /// Closed as soon as no client waits.
    pub(super) answer: oneshot::Sender<Checked>,
}

/// Runs batches. Clones share their limits.
#[derive(Debug, Clone)]
pub(super) struct Batches {
    hosts: Hosts,
    queue: Queue,
    settings: Settings,
}

impl Batches {
    pub(super) fn new(hosts: Hosts, queue: Queue, settings: &Settings) -> Self {
        Self {
            hosts,
            queue,
            settings: settings.clone(),
        }
    }

    /// The end of each check, in the order of the batch.
    pub(super) async fn check(&self, batch: &Batch) -> Vec<Outcome> {
        let mut outcomes = vec![None; batch.urls.len()];
        let gathered = self.gather(batch, &mut outcomes);
        let in_time = if let Some(left) = RequestContext::time_left() {
            let left = left.saturating_sub((left / 10).min(FOR_THE_ANSWER));
            timeout_at(Instant::now() + left, gathered).await.is_ok()
        } else {
            gathered.await;
            true
        };
        let missed = if in_time {
            Missed::GivenUp
        } else {
            Missed::NotInTime
        };
        let outcomes = outcomes.into_iter();
        let outcomes = outcomes.map(|outcome| outcome.unwrap_or(Outcome::Missed(missed)));
        outcomes.collect()
    }

    /// Fills in the ends, until there are too many failures. Dropping it cancels the running checks.
    async fn gather(&self, batch: &Batch, outcomes: &mut [Option<Outcome>]) {
        let one = async |index: usize| {
            let outcome = self.one(&batch.urls[index], batch.timeout).await;
            (index, outcome)
        };
        let under_way = stream::iter(in_turns(&batch.urls)).map(one);
        let mut ended = under_way.buffer_unordered(self.settings.batch_at_once);
        let mut failures = 0;
        while let Some((index, outcome)) = ended.next().await {
            failures += usize::from(!outcome.is_up());
            outcomes[index] = Some(outcome);
            if failures >= batch.max_failures {
                return;
            }
        }
    }

    async fn one(&self, url: &Url, timeout: Duration) -> Outcome {
        let Some(permit) = self.hosts.acquire(url).await else {
            return Outcome::Checked(Checked::of_host_that_is_down());
        };
        let (answer, checked) = oneshot::channel();
        let asked = Asked {
            url: url.clone(),
            timeout,
            permit,
            context: RequestContext::current(),
            answer,
        };
        self.queue.ask(asked).await;
        let failed = Outcome::Missed(Missed::Failed);
        checked.await.map_or(failed, Outcome::Checked)
    }
}

/// The order in which checks begin: the first of each host, the second of each, and so on.
fn in_turns(urls: &[Url]) -> Vec<usize> {
    let mut turns = HashMap::<_, usize>::new();
    let order = urls.iter().enumerate().map(|(index, url)| {
        let turn = turns.entry(hosts::name(url)).or_default();
        *turn += 1;
        (*turn, index)
    });
    let mut order: Vec<_> = order.collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}

impl Checked {
    fn of_host_that_is_down() -> Self {
        Self {
            at: Timestamp::now(),
            verdict: Verdict::Down {
                reason: Reason::Host,
                latency: Duration::ZERO,
            },
        }
    }
}

impl Outcome {
    fn is_up(&self) -> bool {
        matches!(self, Self::Checked(checked) if checked.verdict.is_up())
    }
}

#[cfg(test)]
mod tests;
