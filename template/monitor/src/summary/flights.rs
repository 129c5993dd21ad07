//! Cached summaries, computed once for all concurrent requests (single flight).
//!
//! - A summary is computed once, however many requests wait for it. It is served from the cache while it is
//!   fresh.
//! - A task computes it to its end, also if all clients have left. A slow computation serves later requests.
//! - If it fails or is too slow, the last summary is served, marked as stale.
//! - Failures are not cached: the next request tries again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay::context::RequestContext;
use mainstay::supervisor::{Context, SpawnError, Supervisor};
use moka::future::Cache;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::Report;
use super::numbers;
use super::window::Window;

/// How long a request without a deadline waits if there is no earlier summary.
const PATIENCE: Duration = Duration::from_secs(10);

/// The wait ends this much before the deadline of the request, so that the response can be sent.
const MARGIN: Duration = Duration::from_millis(500);

/// How many requests can wait for the task of a window.
const ORDERS: usize = 16;

/// No summary is known. The log has the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no summary is known; the log has the reason")]
pub(crate) struct Unknown;

type Made = Result<Arc<Report>, Unknown>;

/// Clones share the cache.
#[derive(Debug, Clone)]
pub(super) struct Flights {
    /// The fresh summaries.
    cache: Cache<Window, Arc<Report>>,
    /// The last summary of each window.
    last: Arc<Mutex<HashMap<Window, Arc<Report>>>>,
    orders: HashMap<Window, mpsc::Sender<oneshot::Sender<Made>>>,
    wait: Duration,
}

impl Flights {
    /// Starts the tasks, which compute summaries with `make`. It logs its own failures.
    pub(super) fn start<M, F>(
        supervisor: &Supervisor,
        settings: super::Settings,
        make: M,
    ) -> Result<Self, SpawnError>
    where
        M: Fn(Window) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Option<Report>> + Send + 'static,
    {
        let (orders, received): (HashMap<_, _>, Vec<_>) = Window::ALL
            .map(|window| {
                let (orders, received) = mpsc::channel(ORDERS);
                (
                    (window, orders),
                    (window, Arc::new(AsyncMutex::new(received))),
                )
            })
            .into_iter()
            .unzip();
        let flights = Self {
            cache: Cache::builder()
                .time_to_live(settings.summary_fresh)
                .build(),
            last: Arc::default(),
            orders,
            wait: settings.summary_wait,
        };
        for (window, received) in received {
            let (flights, make) = (flights.clone(), make.clone());
            let task = supervisor.task(&format!("summary_{window}"));
            task.run(move |context| {
                let (flights, make, received) =
                    (flights.clone(), make.clone(), Arc::clone(&received));
                async move {
                    let mut received = received.lock().await;
                    let of_window = || make(window);
                    tokio::select! {
                        () = flights.run(window, &mut received, of_window, &context) => {}
                        () = context.cancelled() => {}
                    }
                }
            })?;
        }
        Ok(flights)
    }

    /// Computes the requested summaries, one after the other.
    async fn run<F>(
        &self,
        window: Window,
        orders: &mut mpsc::Receiver<oneshot::Sender<Made>>,
        make: impl Fn() -> F,
        context: &Context,
    ) where
        F: Future<Output = Option<Report>>,
    {
        while let Some(first) = orders.recv().await {
            context.beat();
            // The client has left before the computation began.
            if first.is_closed() {
                continue;
            }
            let began = Instant::now();
            let answer = make().await.map(Arc::new).ok_or(Unknown);
            match &answer {
                Ok(report) => {
                    numbers::took(began.elapsed());
                    self.known().insert(window, Arc::clone(report));
                    // The client may have left, so the task fills the cache.
                    self.cache.insert(window, Arc::clone(report)).await;
                }
                Err(Unknown) => numbers::failed(),
            }
            // Other requests came while this one was computed.
            _ = first.send(answer.clone());
            while let Ok(other) = orders.try_recv() {
                _ = other.send(answer.clone());
            }
        }
    }

    /// A fresh summary, however long it takes.
    pub(super) async fn fresh(&self, window: Window) -> Made {
        let made = self.cache.try_get_with(window, self.order(window)).await;
        made.map_err(|_| Unknown)
    }

    async fn order(&self, window: Window) -> Made {
        let (tell, told) = oneshot::channel();
        let orders = self.orders.get(&window).ok_or(Unknown)?;
        orders.send(tell).await.map_err(|_| Unknown)?;
        told.await.map_err(|_| Unknown)?
    }

    /// A fresh summary if there is one in time, or else the last one.
    pub(super) async fn ask(&self, window: Window) -> Made {
        let longest =
            RequestContext::time_left().map_or(PATIENCE, |left| left.saturating_sub(MARGIN));
        let is_known = self.known().contains_key(&window);
        let wait = if is_known {
            self.wait.min(longest)
        } else {
            longest
        };
        if let Ok(Ok(report)) = timeout(wait, self.fresh(window)).await {
            numbers::answered("fresh");
            return Ok(report);
        }
        let Some(last) = self.known().get(&window).cloned() else {
            numbers::answered("none");
            return Err(Unknown);
        };
        numbers::answered("stale");
        let mut last = (*last).clone();
        last.stale = true;
        Ok(Arc::new(last))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Window, Arc<Report>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Invalidates the cached summaries.
    #[cfg(test)]
    pub(super) async fn let_go_stale(&self, window: Window) {
        self.cache.invalidate(&window).await;
    }
}
