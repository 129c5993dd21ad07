//! The stall watchdog: it notices when the service's runtime makes no progress.
//!
//! It lives outside of that runtime, sends a heartbeat into it once a second, and takes the time
//! until it is answered. One that is not answered for a second is a stall, which is logged with its
//! length and counted; one that lasts longer than `health.stall` means that the process is not
//! alive any more. systemd's watchdog, where there is one, is fed only by heartbeats that are
//! answered. How long the last one took is the runtime's lag.
//!
//! What stalls a runtime is code that blocks all of its threads: a lock that is held for long, a
//! computation, a call that is not async.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

/// How long a heartbeat may take, and how long the next one waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the runtime's progress. All clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stalls: AtomicU64,
    /// How long the last heartbeat took that was answered, in nanoseconds.
    lag: AtomicU64,
    /// When the heartbeat was sent that is not answered, once it is late.
    since: Mutex<Option<Instant>>,
}

impl Pulse {
    /// How long the runtime has made no progress by now, if it stalls.
    #[must_use]
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        self.since().map(|since| since.elapsed())
    }

    /// How often it has stalled.
    #[must_use]
    pub(crate) fn stalls(&self) -> u64 {
        self.0.stalls.load(Ordering::Relaxed)
    }

    /// How long the last heartbeat took that was answered: so long does a task wait that could go on.
    #[must_use]
    pub(crate) fn lag(&self) -> Duration {
        Duration::from_nanos(self.0.lag.load(Ordering::Relaxed))
    }

    fn since(&self) -> Option<Instant> {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Watches over a runtime, from another one.
    pub(crate) async fn watch(&self, runtime: Handle) {
        let fed = sd_notify::watchdog_enabled();
        // systemd wants to hear from us at half its time.
        let pause = fed.map_or(PATIENCE, |limit| PATIENCE.min(limit / 2));
        loop {
            self.beat(&runtime).await;
            if fed.is_some() {
                _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
            sleep(pause).await;
        }
    }

    /// One heartbeat, until it is answered.
    async fn beat(&self, runtime: &Handle) {
        let sent = Instant::now();
        // It ends at once, and is awaited.
        #[expect(clippy::disallowed_methods)]
        let mut answer = runtime.spawn(async {});
        while timeout(PATIENCE, &mut answer).await.is_err() {
            if self.since().is_none() {
                self.0.stalls.fetch_add(1, Ordering::Relaxed);
                self.set(Some(sent));
                tracing::warn!("stalled: every thread of the runtime is blocked");
            }
        }
        let took = sent.elapsed();
        let lag = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.lag.store(lag, Ordering::Relaxed);
        if self.since().is_some() {
            self.set(None);
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
    async fn a_stall_is_noticed_measured_counted_and_over() {
        let watched = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let pulse = Pulse::default();
        pulse.beat(watched.handle()).await;
        assert_eq!((pulse.stalls(), pulse.stalled_for()), (0, None));
        assert!((Duration::from_nanos(1)..PATIENCE).contains(&pulse.lag()));

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
        assert!(pulse.stalled_for().unwrap() >= PATIENCE);

        release.send(()).unwrap();
        beat.await;
        assert_eq!((pulse.stalls(), pulse.stalled_for()), (1, None));
        assert!(pulse.lag() >= PATIENCE, "{:?}", pulse.lag());
        _ = blocking.await;
        watched.shutdown_background();
    }
}
