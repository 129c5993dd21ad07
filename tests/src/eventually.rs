//! Waiting for what can only be asked for.

use std::time::Duration;

/// Between two askings.
const PAUSE: Duration = Duration::from_millis(20);

const LIMIT: Duration = Duration::from_secs(30);

/// Asks until the answer is the one that is waited for. What the service tells by itself is waited
/// for in its log.
///
/// # Panics
///
/// When it does not come.
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
