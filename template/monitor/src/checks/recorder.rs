//! The task that writes results in batches.
//!
//! - A result waits until there are `monitor.batch` of them, but at most `monitor.batch_delay`. They are
//!   written in one transaction.
//! - A result that [`Reports::hand_over`] has accepted is written, also if the stop begins meanwhile.
//! - While the database is away, results stay in memory. When the buffer is full, callers wait.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use garde::Validate;
use mainstay::supervisor::{Context, SpawnError, Supervisor};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{sleep, timeout};

use super::due::Report;
use super::numbers;

const NAME: &str = "recorder";

/// Settings of `[monitor]`.
#[derive(Debug, Clone, Copy, Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Settings {
    #[garde(range(min = 1, max = 10_000))]
    pub(super) batch: usize,
    pub(super) batch_delay: Duration,
}

/// The number of batches in the buffer, besides the one that is being written.
const KEPT: usize = 10;

/// The pause after the first failed write, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// The sending end of the buffer. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Reports(Sender<Report>);

impl Reports {
    /// Waits until there is room. Calls `taken`, then hands the report over.
    pub(super) async fn hand_over(&self, report: Report, taken: impl FnOnce()) {
        // The recorder stops after those who report.
        if let Ok(room) = self.0.reserve().await {
            taken();
            room.send(report);
        }
    }
}

/// Starts the task. `write` writes a whole batch, or fails.
pub(super) fn start<W, F, E>(
    supervisor: &Supervisor,
    settings: Settings,
    write: W,
) -> Result<Reports, SpawnError>
where
    W: Fn(Arc<[Report]>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send,
{
    let (reports, received) = mpsc::channel(settings.batch * KEPT);
    // A restarted run continues with the same buffer.
    let recorder = Arc::new(Mutex::new(Recorder {
        received,
        batch: Vec::new(),
        settings,
    }));
    supervisor.task(NAME).run(move |context| {
        let (recorder, write) = (Arc::clone(&recorder), write.clone());
        async move { recorder.lock().await.keep(&context, write).await }
    })?;
    Ok(Reports(reports))
}

struct Recorder {
    received: Receiver<Report>,
    /// The results that are not written yet.
    batch: Vec<Report>,
    settings: Settings,
}

impl Recorder {
    async fn keep<F, E>(&mut self, context: &Context, write: impl Fn(Arc<[Report]>) -> F)
    where
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        while !context.is_cancelled() {
            tokio::select! {
                () = self.gather() => {}
                () = context.cancelled() => {}
            }
            self.flush(context, &write).await;
        }
        // The checkers have stopped before this, so that no more results come.
        loop {
            let room = self.settings.batch - self.batch.len();
            let rest = std::iter::from_fn(|| self.received.try_recv().ok());
            self.batch.extend(rest.take(room));
            if self.batch.is_empty() {
                return;
            }
            self.flush(context, &write).await;
        }
    }

    /// Waits for a first result, then a limited time for more. Cancel-safe.
    async fn gather(&mut self) {
        if self.batch.is_empty() {
            let Some(report) = self.received.recv().await else {
                return std::future::pending().await;
            };
            self.batch.push(report);
        }
        let fill = async {
            while self.batch.len() < self.settings.batch {
                match self.received.recv().await {
                    Some(report) => self.batch.push(report),
                    None => return,
                }
            }
        };
        _ = timeout(self.settings.batch_delay, fill).await;
    }

    /// Writes the batch, and retries until that succeeds.
    async fn flush<F, E>(&mut self, context: &Context, write: impl Fn(Arc<[Report]>) -> F)
    where
        F: Future<Output = Result<(), E>>,
        E: Display,
    {
        let [mut pause, longest] = PAUSES;
        let batch: Arc<[Report]> = self.batch.as_slice().into();
        while !self.batch.is_empty() {
            numbers::unwritten(self.batch.len() + self.received.len());
            match write(Arc::clone(&batch)).await {
                Ok(()) => self.batch.clear(),
                Err(cause) => {
                    let kept = self.batch.len() + self.received.len();
                    tracing::warn!(%cause, kept, "results cannot be written yet");
                    // At the stop there is little time, and no reason to spare the database.
                    let hurry = async {
                        context.cancelled().await;
                        sleep(PAUSES[0]).await;
                    };
                    tokio::select! {
                        () = sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())) => {}
                        () = hurry => {}
                    }
                    pause = (pause * 2).min(longest);
                }
            }
        }
        numbers::unwritten(self.received.len());
    }
}

#[cfg(test)]
mod tests;
