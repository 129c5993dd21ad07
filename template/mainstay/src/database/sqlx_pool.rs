//! A pool of sqlx beside our own, for crates that take one by its type.

use std::io;
use std::time::Duration;

use sqlx::pool::PoolOptions;
use sqlx::{Connection, Error};
use tokio::time::timeout;

use super::engine::{Engine, Limits, Options};
use super::pool::PING_AFTER;
use crate::metrics::pools::{Numbers, Totals};

/// The most connections of the pool, unless `max_connections` is less.
pub(super) const MAX_CONNECTIONS: u32 = 4;

/// A pool that connects on first use. It pings within a time limit where sqlx would ping without one: on the
/// return of a connection, and before it goes out after a second of idling.
pub(super) fn connect_lazy<E: Engine>(options: Options<E>, limits: &Limits) -> sqlx::Pool<E> {
    let limit = limits.ping;
    PoolOptions::new()
        .max_connections(limits.connections.min(MAX_CONNECTIONS))
        .acquire_timeout(limits.acquire)
        .max_lifetime(limits.lifetime)
        .test_before_acquire(false)
        .before_acquire(move |connection, metadata| {
            Box::pin(
                async move { Ok(metadata.idle_for < PING_AFTER || ping(connection, limit).await?) },
            )
        })
        .after_release(move |connection, _| Box::pin(ping(connection, limit)))
        .connect_lazy_with(options)
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
        waiting: 0,
        longest_hold_ms: 0,
        waits: Totals::default(),
    }
}
