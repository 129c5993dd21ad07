//! More than one attempt: retries, and hedged requests.

use std::pin::pin;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::sleep;

use super::Settings;

/// The longest pause, before its jitter.
const LONGEST: Duration = Duration::from_secs(5);

/// Retries while failures are transient and the budget allows it.
pub(super) async fn retried<T, E, F: Future<Output = Result<T, E>>>(
    attempt: impl FnMut() -> F,
    settings: &Settings,
    may_pass: impl FnMut(&E) -> bool,
    mut affords: impl FnMut() -> bool,
) -> Result<T, E> {
    let pauses = ExponentialBuilder::default()
        .with_min_delay(settings.retry_pause)
        .with_max_delay(LONGEST.max(settings.retry_pause))
        .with_max_times(settings.retries)
        .with_jitter();
    // There is no pause after the last attempt, and it costs nothing.
    let paid = |_: &E, pause: Option<Duration>| pause.filter(|_| affords());
    attempt.retry(pauses).when(may_pass).adjust(paid).await
}

/// Makes a second attempt beside the first if that takes longer than `after` and the budget allows it. The
/// first success wins; if both fail, the last failure counts.
pub(super) async fn hedged<T, E, F: Future<Output = Result<T, E>>>(
    attempt: impl Fn() -> F,
    after: Option<Duration>,
    affords: impl FnOnce() -> bool,
) -> Result<T, E> {
    let Some(after) = after else {
        return attempt().await;
    };
    let mut first = pin!(attempt());
    tokio::select! {
        biased;
        done = &mut first => return done,
        () = sleep(after) => {}
    }
    if !affords() {
        return first.await;
    }
    let mut second = pin!(attempt());
    tokio::select! {
        done = &mut first => match done {
            Ok(done) => Ok(done),
            Err(_) => second.await,
        },
        done = &mut second => match done {
            Ok(done) => Ok(done),
            Err(_) => first.await,
        },
    }
}
