//! How a service gets at its data: a read, a write, or a transaction.
//!
//! ```ignore
//! sqlx::query_as("SELECT id, url FROM targets").fetch_all(database.read()).await?;
//!
//! let mut transaction = database.begin().await?;
//! sqlx::query("UPDATE …").execute(&mut *transaction).await?;
//! sqlx::query("INSERT …").execute(&mut *transaction).await?;
//! transaction.commit().await?;
//! ```
//!
//! On SQLite, a read has one of several connections, and cannot write; writes and transactions have
//! the one connection that can, and wait for each other here rather than in the database, where they
//! would fail as "busy".

use std::ops::{Deref, DerefMut};
use std::panic::Location;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use sqlx::{Describe, Either, Error, Execute, Executor, SqlStr};

use super::engine::Engine;
use super::lease::Lease;
use super::loan::Place;
use super::pool::Pool;

/// Runs one statement on a connection, which is lent for just as long.
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

/// Statements that take effect together, or not at all. When it is dropped before its
/// [commit](Self::commit), it never was.
#[derive(Debug)]
#[must_use]
pub struct Transaction<E: Engine> {
    lease: Lease<E>,
}

impl<E: Engine> Transaction<E> {
    /// Makes it last.
    ///
    /// # Errors
    ///
    /// When the database refuses, or when one of the statements has failed: then nothing has
    /// happened. If the connection breaks meanwhile, nobody can tell.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.lease.commit().await
    }

    /// Undoes it now, for whoever wants to know that it is over. To drop it does the same, a moment
    /// later.
    pub async fn roll_back(mut self) {
        self.lease.roll_back().await;
    }
}

/// For idempotency keys.
#[cfg(feature = "idempotency")]
impl<E: Engine> Transaction<E> {
    /// Takes the lock of this name until the transaction ends; false if another transaction has it.
    pub(crate) async fn try_claim(&mut self, name: &str) -> Result<bool, Error> {
        E::try_claim(&mut self.lease, name).await
    }

    /// What is done from here on can be undone without the rest.
    pub(crate) async fn mark(&mut self) -> Result<(), Error> {
        self.lease.execute("SAVEPOINT mark").await.map(drop)
    }

    /// Undoes what was done since the [mark](Self::mark), also if a statement has failed since then.
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
