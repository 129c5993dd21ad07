//! A pool of sqlx beside our own, for crates that take one by its type.

use std::io;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{Connection, Error};
use tokio::time::timeout;

use super::engine::Engine;
use super::pool::{PING_AFTER, Pool};
use crate::metrics::pools::Numbers;

/// The most connections of the pool, unless `max_connections` is less.
pub(super) const MAX_CONNECTIONS: u32 = 4;

/// A pool like `ours`, which connects on first use. It pings within a time limit where sqlx would ping without one:
/// on the return of a connection, and before it goes out after a second of idling.
pub(super) fn connect_lazy<E: Engine>(ours: &Pool<E>) -> sqlx::Pool<E> {
    let settings = &ours.settings;
    let limit = settings.ping_timeout();
    PoolOptions::new()
        .max_connections(settings.max_connections.min(MAX_CONNECTIONS))
        .acquire_timeout(settings.acquire_timeout)
        .max_lifetime(settings.max_lifetime)
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            Box::pin(
                async move { Ok(metadata.idle_for < PING_AFTER || ping(connection, limit).await?) },
            )
        })
        .after_release(move |connection, _| Box::pin(ping(connection, limit)))
        .connect_lazy_with(ours.options.clone())
}

/// Fails if the connection does not answer in time: then sqlx closes it without waiting for the server.
async fn ping(connection: &mut impl Connection, limit: Duration) -> Result<bool, Error> {
    let answer = timeout(limit, connection.ping()).await;
    answer.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(true)
}

/// The state of the pool. sqlx counts neither waits nor timeouts.
pub(super) fn numbers<E: Engine>(pool: &sqlx::Pool<E>) -> Numbers {
    let size = usize::try_from(pool.size()).unwrap_or(usize::MAX);
    let idle = pool.num_idle().min(size);
    Numbers {
        max: pool.options().get_max_connections(),
        size,
        idle,
        in_use: size - idle,
        ..Numbers::default()
    }
}
