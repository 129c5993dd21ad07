//! How a service runs statements: a read, a write, or a transaction.

use std::ops::{Deref, DerefMut};
use std::panic::Location;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use sqlx::{Describe, Either, Error, Execute, Executor, SqlStr};

use super::engine::Engine;
use super::lease::Lease;
use super::loan::Place;
use super::pool::Pool;

/// An executor of sqlx that runs one statement on a connection of a pool.
#[derive(Debug)]
pub struct Access<'a, E: Engine> {
    pool: &'a Pool<E>,
    place: Place,
}

impl<'a, E: Engine> Access<'a, E> {
    #[track_caller]
    pub(super) fn to(pool: &'a Pool<E>) -> Self {
        Self {
            pool,
            place: Location::caller(),
        }
    }

    pub(super) async fn checkout(self) -> Result<Lease<E>, Error> {
        Ok(Lease::new(self.pool.checkout(self.place).await?))
    }

    pub(super) async fn begin(self) -> Result<Transaction<E>, Error> {
        let mut lease = self.checkout().await?;
        lease.begin(E::BEGIN).await?;
        Ok(Transaction { lease })
    }
}

/// A transaction, which is an executor of sqlx by `&mut *transaction`. It is rolled back when it is dropped
/// without a [commit](Self::commit).
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<E: Engine> {
    lease: Lease<E>,
}

impl<E: Engine> Transaction<E> {
    /// Commits the transaction.
    ///
    /// # Errors
    ///
    /// If the database refuses, or one of the statements has failed: then the transaction is rolled back. If
    /// the connection breaks during the commit, its outcome is unknown.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.lease.commit().await
    }

    /// Rolls the transaction back, and waits for that. A drop does the same in the background.
    pub async fn rollback(mut self) {
        self.lease.rollback().await;
    }
}

/// For idempotency keys.
#[cfg(any(test, feature = "idempotency"))]
impl<E: Engine> Transaction<E> {
    /// Takes the lock of this name until the transaction ends; false if another transaction holds it.
    pub(crate) async fn try_claim(&mut self, name: &str) -> Result<bool, Error> {
        E::try_claim(&mut self.lease, name).await
    }

    /// Sets a savepoint.
    pub(crate) async fn mark(&mut self) -> Result<(), Error> {
        self.lease.execute("SAVEPOINT mark").await.map(drop)
    }

    /// Rolls back to the [savepoint](Self::mark), also if a statement has failed since then.
    pub(crate) async fn undo_to_mark(&mut self) -> Result<(), Error> {
        self.lease.undo("ROLLBACK TO SAVEPOINT mark").await
    }
}

impl<E: Engine> Deref for Transaction<E> {
    type Target = Lease<E>;

    fn deref(&self) -> &Lease<E> {
        &self.lease
    }
}

impl<E: Engine> DerefMut for Transaction<E> {
    fn deref_mut(&mut self) -> &mut Lease<E> {
        &mut self.lease
    }
}

impl<'a, E: Engine> Executor<'a> for Access<'a, E> {
    type Database = E;

    fn execute<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<E::QueryResult, Error>>
    where
        'a: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async move { self.checkout().await?.execute(query).await })
    }

    fn fetch_many<'e, 'q: 'e, Q>(
        self,
        query: Q,
    ) -> BoxStream<'e, Result<Either<E::QueryResult, E::Row>, Error>>
    where
        'a: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async_stream::try_stream! {
            let mut lease = self.checkout().await?;
            let mut rows = lease.fetch_many(query);
            while let Some(row) = rows.next().await.transpose()? {
                yield row;
            }
        })
    }

    fn fetch_all<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Vec<E::Row>, Error>>
    where
        'a: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async move { self.checkout().await?.fetch_all(query).await })
    }

    fn fetch_optional<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Option<E::Row>, Error>>
    where
        'a: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async move { self.checkout().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [E::TypeInfo],
    ) -> BoxFuture<'e, Result<E::Statement, Error>>
    where
        'a: 'e,
    {
        Box::pin(async move { self.checkout().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<E>, Error>>
    where
        'a: 'e,
    {
        Box::pin(async move { self.checkout().await?.describe(sql).await })
    }
}
