//! All results of a target in one answer, however many there are: one JSON object a line, the newest first.
//!
//! - It takes memory for one chunk, whatever the length of the answer, and the next chunk is read when the
//!   client has taken the one before it. A client that reads slowly has no connection to the database
//!   meanwhile; one that goes away has nothing more read for it.
//! - It tells each result that was there all the time once. What comes meanwhile is newer than where it has
//!   begun, and left out.
//! - When a chunk cannot be read, the answer breaks off, so that nobody takes a part for the whole. Whoever
//!   has it goes on with `before`, from the last line that has come.
//!
//! A stop lets it run for as long as the drain takes, and cuts it then, as any other answer.

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
use crate::moment::Moment;

/// So many results are read at once: few enough to be held for each client that reads slowly, and enough to
/// make the statement cheap beside them.
const CHUNK: u16 = 1000;

/// Which results are wanted.
#[derive(Debug, Clone, Copy, Deserialize, Validate, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Span {
    /// Those that were due then, or later.
    #[garde(skip)]
    #[param(value_type = String, format = DateTime, required = false)]
    since: Option<Moment>,
    /// Those that were due before that. An answer that broke off is gone on with from the `due_at` of its
    /// last line.
    #[garde(skip)]
    #[param(value_type = String, format = DateTime, required = false)]
    before: Option<Moment>,
}

/// What is still to be told, and the chunk that is told next.
#[derive(Debug)]
pub(super) struct Export {
    history: History,
    target: i64,
    since: Moment,
    chunk: Vec<Kept>,
}

impl Export {
    /// With its first chunk: what goes wrong with that can still be answered as a problem.
    pub(super) async fn begin(
        history: History,
        target: i64,
        span: Span,
    ) -> Result<Self, sqlx::Error> {
        let mut export = Self {
            history,
            target,
            since: span.since.unwrap_or(Moment(i64::MIN)),
            chunk: Vec::new(),
        };
        export.read(span.before.unwrap_or(Moment(i64::MAX))).await?;
        Ok(export)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    async fn read(&mut self, before: Moment) -> Result<(), sqlx::Error> {
        let due = self.since..before;
        self.chunk = self
            .history
            .due_within(self.target, due, CHUNK.into())
            .await?;
        Ok(())
    }

    /// Its lines, a chunk at a time. Nothing is done for them until they are asked for.
    pub(super) fn lines(mut self) -> impl Stream<Item = Result<Bytes, sqlx::Error>> {
        let request_id = RequestId::current().map(|id| id.to_string());
        let mut outcome = Outcome("left");
        stream! {
            loop {
                let chunk = std::mem::take(&mut self.chunk);
                let is_last = chunk.len() < usize::from(CHUNK);
                let Some(last) = chunk.last() else { break };
                let before = Moment(last.due_at);
                yield Ok(in_lines(chunk));
                if is_last {
                    break;
                }
                if let Err(error) = self.read(before).await {
                    outcome.set("broken");
                    let target = self.target;
                    tracing::warn!(cause = log_safe_message(&error), target_id = target, request_id, "an export broke off");
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
        // What has only texts and numbers becomes JSON, and a vector takes all of it.
        _ = serde_json::to_writer(&mut lines, &Check::from(kept));
        lines.push(b'\n');
    }
    lines.into()
}

/// What has become of an export that has begun: counted when it is over. Unless it is said otherwise, its client
/// has left.
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
