//! Who waits for a summary, and who makes it.
//!
//! - However many ask for the same one, it is made once. It is fresh for a while, and given to all who ask.
//! - It is made by a task of its own, so that it is made to its end, whoever has stopped waiting for it. One
//!   that takes longer than anybody waits is there for those who come next.
//! - When it cannot be made, or not in time, the last one that is known is given, and said to be stale.
//! - What went wrong is not kept: whoever asks next has it tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay::context::Context as Request;
use mainstay::supervisor::{Context, SpawnError, Supervisor};
use moka::future::Cache;
use tokio::sync::{Mutex as Turn, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::Report;
use super::numbers;
use super::window::Window;

/// How long somebody waits for whom nothing else is known, if no request says that.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much earlier than a request's own deadline is given up: there is an answer to be written.
const MARGIN: Duration = Duration::from_millis(500);

/// Those who have left the wait, and are told nevertheless.
const ORDERS: usize = 16;

/// There is none. The log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is none, for the reason that was told before")]
pub(crate) struct Unknown;

type Made = Result<Arc<Report>, Unknown>;

/// All clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Flights {
    /// The fresh ones.
    cache: Cache<Window, Arc<Report>>,
    /// The last of each that was made.
    last: Arc<Mutex<HashMap<Window, Arc<Report>>>>,
    orders: HashMap<Window, mpsc::Sender<oneshot::Sender<Made>>>,
    wait: Duration,
}

impl Flights {
    /// Starts the tasks, which have `make` make what is asked for. It says itself what went wrong.
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
                ((window, orders), (window, Arc::new(Turn::new(received))))
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
                        () = flights.fly(window, &mut received, of_window, &context) => {}
                        () = context.cancelled() => {}
                    }
                }
            })?;
        }
        Ok(flights)
    }

    /// Makes what is asked for, one after the other.
    async fn fly<F>(
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
            // Nobody is there any more, and it was not begun.
            if first.is_closed() {
                continue;
            }
            let began = Instant::now();
            let answer = make().await.map(Arc::new).ok_or(Unknown);
            match &answer {
                Ok(report) => {
                    numbers::took(began.elapsed());
                    self.known().insert(window, Arc::clone(report));
                    // Whoever has asked for it may be gone.
                    self.cache.insert(window, Arc::clone(report)).await;
                }
                Err(Unknown) => numbers::failed(),
            }
            // Those who have taken the place of one that is gone have come meanwhile.
            _ = first.send(answer.clone());
            while let Ok(other) = orders.try_recv() {
                _ = other.send(answer.clone());
            }
        }
    }

    /// A fresh one, however long it takes.
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

    /// A fresh one if there is one in time, or else the last.
    pub(super) async fn ask(&self, window: Window) -> Made {
        let longest = Request::time_left().map_or(PATIENCE, |left| left.saturating_sub(MARGIN));
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

    /// Has the next one made anew.
    #[cfg(test)]
    pub(super) async fn let_go_stale(&self, window: Window) {
        self.cache.invalidate(&window).await;
    }
}
