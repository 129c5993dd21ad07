//! All results of a target in one response: one JSON object a line, the newest first.
//!
//! - Memory is limited to one chunk. The next chunk is read when the client has taken the one before, and no
//!   connection to the database is held in between. When the client leaves, reading stops.
//! - A result that is stored during the whole export is sent exactly once. Results that come later are newer
//!   than the first line, and left out.
//! - If a chunk cannot be read, the response is aborted, so that the client notices. It can continue with
//!   `before`, from the last complete line.
//!
//! A stop lets the response run until the end of the drain, as every other response.

use async_stream::stream;
use axum::body::Bytes;
use futures_util::Stream;
use garde::Validate;
use mainstay::context::RequestId;
use mainstay::database::log_safe_message;
use serde::Deserialize;
use utoipa::IntoParams;

use super::history::{History, Kept};
use super::numbers;
use super::routes::Check;
use crate::timestamp::Timestamp;

/// The results that one statement reads: few enough to be held for each slow client, and enough to make the
/// statement cheap.
const CHUNK: u16 = 1000;

/// The time range of an export.
#[derive(Debug, Clone, Copy, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// Results that were due at this time or later.
    #[garde(skip)]
    #[param(value_type = String, format = DateTime, required = false)]
    since: Option<Timestamp>,
    /// Results that were due before this time. To continue an aborted response, pass the `due_at` of its last
    /// line.
    #[garde(skip)]
    #[param(value_type = String, format = DateTime, required = false)]
    before: Option<Timestamp>,
}

/// The rest of an export, and its next chunk.
#[derive(Debug)]
pub(super) struct Export {
    history: History,
    target: i64,
    since: Timestamp,
    chunk: Vec<Kept>,
}

impl Export {
    /// Reads the first chunk, so that an error can still be answered with a problem.
    pub(super) async fn begin(
        history: History,
        target: i64,
        span: Span,
    ) -> Result<Self, sqlx::Error> {
        let mut export = Self {
            history,
            target,
            since: span.since.unwrap_or(Timestamp(i64::MIN)),
            chunk: Vec::new(),
        };
        export
            .read(span.before.unwrap_or(Timestamp(i64::MAX)))
            .await?;
        Ok(export)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    async fn read(&mut self, before: Timestamp) -> Result<(), sqlx::Error> {
        let due = self.since..before;
        self.chunk = self
            .history
            .due_within(self.target, due, CHUNK.into())
            .await?;
        Ok(())
    }

    /// The lines, a chunk at a time, read on demand.
    pub(super) fn lines(mut self) -> impl Stream<Item = Result<Bytes, sqlx::Error>> {
        let request_id = RequestId::current().map(|id| id.as_str().to_owned());
        let mut outcome = Outcome("left");
        stream! {
            loop {
                let chunk = std::mem::take(&mut self.chunk);
                let is_last = chunk.len() < usize::from(CHUNK);
                let Some(last) = chunk.last() else { break };
                let before = Timestamp(last.due_at);
                yield Ok(in_lines(chunk));
                if is_last {
                    break;
                }
                if let Err(error) = self.read(before).await {
                    outcome.set("broken");
                    let target = self.target;
                    tracing::warn!(cause = log_safe_message(&error), target_id = target, request_id, "an export was aborted");
                    yield Err(error);
                    return;
                }
            }
            outcome.set("complete");
        }
    }
}

fn in_lines(chunk: Vec<Kept>) -> Bytes {
    let mut lines = Vec::with_capacity(chunk.len() * 150);
    for kept in chunk {
        // Text and numbers can always be serialized, and a vector accepts all bytes.
        _ = serde_json::to_writer(&mut lines, &Check::from(kept));
        lines.push(b'\n');
    }
    lines.into()
}

/// The outcome of an export, counted when it is dropped. By default, the client has left.
#[derive(Debug)]
struct Outcome(&'static str);

impl Outcome {
    fn set(&mut self, outcome: &'static str) {
        self.0 = outcome;
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        numbers::export(self.0);
    }
}
