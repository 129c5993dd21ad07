//! Polling for a state that the service does not announce.

use std::time::Duration;

/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(20);

const LIMIT: Duration = Duration::from_mins(1);

/// Polls until the closure returns a value. For a state that the service logs, wait for the log
/// event instead.
///
/// # Panics
///
/// On timeout.
pub async fn eventually<T>(what: &str, mut holds: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = holds().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, asking).await;
    found.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
