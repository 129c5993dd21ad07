//! More than one attempt at the same thing: one after the other, and one beside the other.

use std::pin::pin;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::sleep;

use super::Settings;

/// The longest pause, before its jitter.
const LONGEST: Duration = Duration::from_secs(5);

/// Makes attempts until one succeeds, as long as what fails `may_pass` and the next one is affordable.
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
    // After the last one there is no pause, and nothing that would have to be paid for.
    let paid = |_: &E, pause: Option<Duration>| pause.filter(|_| affords());
    attempt.retry(pauses).when(may_pass).adjust(paid).await
}

/// Makes an attempt, and another one beside it if the first takes longer than `after` and the second
/// is affordable. The first success wins, and the last failure counts.
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
