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

use super::engine::{self, Db};
use super::lease::Lease;
use super::loan::Place;
use super::pool::Pool;
use super::{Prepared, QueryResult, Row, TypeInfo};

/// Runs one statement on a connection, which is lent for just as long.
#[derive(Debug, Clone, Copy)]
pub struct Access<'a> {
    pool: &'a Pool,
    place: Place,
}

impl<'a> Access<'a> {
    #[track_caller]
    pub(super) fn to(pool: &'a Pool) -> Self {
        Self {
            pool,
            place: Location::caller(),
        }
    }

    pub(super) async fn lend(self) -> Result<Lease, Error> {
        self.pool.lend(self.place).await
    }

    pub(super) async fn begin(self) -> Result<Transaction, Error> {
        let mut lease = self.lend().await?;
        lease.begin(engine::BEGIN).await?;
        Ok(Transaction { lease })
    }
}

/// Statements that take effect together, or not at all. When it is dropped before its
/// [commit](Self::commit), it never was.
#[derive(Debug)]
#[must_use]
pub struct Transaction {
    lease: Lease,
}

impl Transaction {
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

    /// Whether nobody else has a claim to this. Nobody else gets one until the transaction ends,
    /// however it does.
    pub(in crate::frame) async fn claim(&mut self, what: &str) -> Result<bool, Error> {
        engine::claim(&mut self.lease, what).await
    }

    /// What is done from here on can be undone without the rest.
    pub(in crate::frame) async fn mark(&mut self) -> Result<(), Error> {
        self.lease.execute("SAVEPOINT mark").await.map(drop)
    }

    /// Undoes what was done since the [mark](Self::mark), also if a statement has failed since then.
    pub(in crate::frame) async fn undo_to_mark(&mut self) -> Result<(), Error> {
        self.lease.undo("ROLLBACK TO SAVEPOINT mark").await
    }
}

impl Deref for Transaction {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.lease
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Lease {
        &mut self.lease
    }
}

impl<'a> Executor<'a> for Access<'a> {
    type Database = Db;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<QueryResult, Error>>
    where
        'a: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async move { self.lend().await?.execute(query).await })
    }

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<QueryResult, Row>, Error>>
    where
        'a: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async_stream::try_stream! {
            let mut lease = self.lend().await?;
            let mut rows = lease.fetch_many(query);
            while let Some(row) = rows.next().await.transpose()? {
                yield row;
            }
        })
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<Row>, Error>>
    where
        'a: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async move { self.lend().await?.fetch_all(query).await })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<Row>, Error>>
    where
        'a: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async move { self.lend().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [TypeInfo],
    ) -> BoxFuture<'e, Result<Prepared, Error>>
    where
        'a: 'e,
    {
        Box::pin(async move { self.lend().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Db>, Error>>
    where
        'a: 'e,
    {
        Box::pin(async move { self.lend().await?.describe(sql).await })
    }
}
