//! Many URLs checked now, for somebody who waits for what comes out.
//!
//! - Each URL that is asked about is answered for itself, in the order asked, twice if it is there twice: how
//!   its check came out, or why there is none. Whatever becomes of one, the batch does not fail.
//! - A batch is over while there is still time for its answer. What is not done by then is not in time. After
//!   so many failures as whoever asks will bear, the rest is given up.
//! - What is given up, or is not in time, or is not waited for any more since whoever asked has left, is not
//!   begun, and dropped where it was.
//! - No more than `monitor.batch_at_once` of a batch are under way. The hosts take turns, so that the many URLs
//!   of a slow one do not stand before all others; and a check waits for a place at its [host](super::hosts)
//!   before it stands in the [queue](super::queue), where it would be in the way.
//!
//! Nothing of it is written down: it is of no target.

pub(super) mod routes;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use garde::Validate;
use mainstay::context::Context;
use mainstay::settings;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::hosts::{self, Hosts, Pass};
use super::numbers;
use super::probe::{Reason, Verdict};
use super::queue::Queue;
use crate::moment::Moment;

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

/// The most that a batch can be allowed to have.
const MOST: usize = 10_000;

/// The longest that one of its checks can take, in seconds.
const LONGEST: u64 = 3600;

fn is_whole_seconds(timeout: &Duration, &(): &()) -> garde::Result {
    let is_whole = timeout.subsec_nanos() == 0 && (1..=LONGEST).contains(&timeout.as_secs());
    settings::rule(is_whole, &[], "must be whole seconds, from one to an hour")
}

/// The part of the time for a request that is kept for its answer: a tenth, and no more than this.
const FOR_THE_ANSWER: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) urls: Vec<Url>,
    /// For each of them, with all of its attempts.
    pub(super) timeout: Duration,
    pub(super) max_failures: usize,
}

/// What has become of one of them.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Checked(Checked),
    Missed(Missed),
}

#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) at: Moment,
    pub(super) verdict: Verdict,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missed {
    /// Too many others had failed.
    GivenUp,
    NotInTime,
    /// It is our own fault.
    Failed,
}

/// One check of a batch, on its way.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) url: Url,
    pub(super) timeout: Duration,
    pub(super) pass: Pass,
    /// The request that it is made for.
    pub(super) context: Option<Context>,
    /// Closed as soon as nobody waits.
    pub(super) answer: oneshot::Sender<Checked>,
}

/// Where batches are made. All clones are the same.
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

    /// What has become of each, in the order of the batch.
    pub(super) async fn check(&self, batch: &Batch) -> Vec<Outcome> {
        let mut outcomes = vec![None; batch.urls.len()];
        let gathered = self.gather(batch, &mut outcomes);
        let in_time = if let Some(left) = Context::time_left() {
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

    /// Fills in what becomes of each, until there are too many failures. What is under way is dropped with
    /// this.
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
        let Some(pass) = self.hosts.wait(url).await else {
            return Outcome::Checked(Checked::of_host_that_is_down());
        };
        let (answer, checked) = oneshot::channel();
        let asked = Asked {
            url: url.clone(),
            timeout,
            pass,
            context: Context::current(),
            answer,
        };
        self.queue.ask(asked).await;
        let failed = Outcome::Missed(Missed::Failed);
        checked.await.map_or(failed, Outcome::Checked)
    }
}

/// In which order they are begun: the first of each host, the second of each, and so on.
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
            at: Moment::now(),
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
