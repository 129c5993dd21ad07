//! The stall watchdog: it measures whether the runtime of the service makes progress.
//!
//! It runs outside of that runtime, and sends a heartbeat into it once a second. A heartbeat without an answer for a
//! second is a stall, which is logged and counted; `/livez` fails when it lasts longer than `health.stall`.
//! systemd's watchdog is notified after each answer. The time of the last answer is the lag of the runtime.
//!
//! A runtime stalls when code blocks all of its threads: a lock, a computation, a call that is not async.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

/// The time for an answer, and the pause between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(1);

/// The progress of the runtime. All clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stalls: AtomicU64,
    /// The time of the last answer, in nanoseconds.
    lag: AtomicU64,
    /// When the overdue heartbeat was sent.
    stalled_since: Mutex<Option<Instant>>,
}

impl Pulse {
    /// The duration of the current stall.
    #[must_use]
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        self.stalled_since().map(|since| since.elapsed())
    }

    /// The number of stalls.
    #[must_use]
    pub(crate) fn stalls(&self) -> u64 {
        self.0.stalls.load(Ordering::Relaxed)
    }

    /// The time that a ready task waits for a thread.
    #[must_use]
    pub(crate) fn lag(&self) -> Duration {
        Duration::from_nanos(self.0.lag.load(Ordering::Relaxed))
    }

    fn stalled_since(&self) -> MutexGuard<'_, Option<Instant>> {
        let since = self.0.stalled_since.lock();
        since.unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a runtime, from another one.
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

    /// Sends a heartbeat, and waits for the answer.
    async fn beat(&self, runtime: &Handle) {
        let sent = Instant::now();
        // It ends at once, and is awaited.
        #[expect(clippy::disallowed_methods)]
        let mut answer = runtime.spawn(async {});
        while timeout(INTERVAL, &mut answer).await.is_err() {
            if self.stalled_since().is_none() {
                self.0.stalls.fetch_add(1, Ordering::Relaxed);
                *self.stalled_since() = Some(sent);
                tracing::warn!("stalled: every thread of the runtime is blocked");
            }
        }
        let took = sent.elapsed();
        let lag = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.lag.store(lag, Ordering::Relaxed);
        if self.stalled_since().take().is_some() {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(stalled_ms = ms, "going on after a stall");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn stall_is_counted_and_measured() {
        let watched = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let pulse = Pulse::default();
        pulse.beat(watched.handle()).await;
        assert_eq!((pulse.stalls(), pulse.stalled_for()), (0, None));
        assert!((Duration::from_nanos(1)..INTERVAL).contains(&pulse.lag()));

        let (release, held) = mpsc::channel::<()>();
        let handle = watched.handle().clone();
        #[expect(clippy::disallowed_methods)]
        let blocking = watched.spawn(async move { held.recv() });
        let beat = pulse.beat(&handle);
        tokio::pin!(beat);
        while pulse.stalled_for().is_none() {
            tokio::select! {
                () = &mut beat => panic!("the runtime is blocked"),
                () = sleep(Duration::from_millis(10)) => {}
            }
        }
        assert_eq!(pulse.stalls(), 1);
        assert!(pulse.stalled_for().unwrap() >= INTERVAL);

        release.send(()).unwrap();
        beat.await;
        assert_eq!((pulse.stalls(), pulse.stalled_for()), (1, None));
        assert!(pulse.lag() >= INTERVAL, "{:?}", pulse.lag());
        _ = blocking.await;
        watched.shutdown_background();
    }
}
