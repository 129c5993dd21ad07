//! The stall watchdog: it measures whether the runtime of the service makes progress.
//!
//! It runs outside of that runtime, and sends a heartbeat into it once a second. A heartbeat without an answer for a
//! second is a stall, which is logged and counted; `/livez` fails when it lasts longer than `health.stall`.
//! systemd's watchdog is notified after each answer. The time of the last answer is the lag of the runtime.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// The time for an answer, and the pause between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(1);

/// Clones share their state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(watch::Sender<Progress>);

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) stalls: u64,
    /// The time that a ready task waits for a thread: that of the last answer.
    pub(crate) lag: Duration,
    /// When the overdue heartbeat was sent.
    stalled_since: Option<Instant>,
}

impl Progress {
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        self.stalled_since.map(|since| since.elapsed())
    }
}

impl Pulse {
    pub(crate) fn progress(&self) -> Progress {
        *self.0.borrow()
    }

    pub(crate) async fn watch(&self, runtime: Handle) {
        let fed = sd_notify::watchdog_enabled();
        // systemd recommends half of its limit.
        let pause = fed.map_or(INTERVAL, |limit| INTERVAL.min(limit / 2));
        loop {
            self.beat(&runtime).await;
            if fed.is_some() {
                _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
            sleep(pause).await;
        }
    }

    async fn beat(&self, runtime: &Handle) {
        let sent = Instant::now();
        #[expect(clippy::disallowed_methods, reason = "it ends at once")]
        let mut answer = runtime.spawn(async {});
        let is_stall = timeout(INTERVAL, &mut answer).await.is_err();
        if is_stall {
            self.0.send_modify(|progress| {
                progress.stalls += 1;
                progress.stalled_since = Some(sent);
            });
            tracing::warn!("stalled: every thread of the runtime is blocked");
            _ = answer.await;
        }
        let lag = sent.elapsed();
        self.0
            .send_modify(|progress| (progress.stalled_since, progress.lag) = (None, lag));
        if is_stall {
            let stalled_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(stalled_ms, "going on after a stall");
        }
    }
}
