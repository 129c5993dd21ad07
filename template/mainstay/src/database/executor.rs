//! The implementation of sqlx's `Executor`, for a pool and for a lease.

use std::future::{Ready, ready};
use std::panic::Location;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use sqlx::{Describe, Either, Error, Execute, Executor, SqlStr};
use tokio::time::{Instant, timeout_at};

use super::engine::Engine;
use super::errors;
use super::lease::{Lease, Progress, statement_timeout};
use super::pool::{Caller, Pool};

/// An executor of sqlx that runs one statement on a connection of a pool.
#[derive(Debug)]
pub struct Access<'a, E: Engine> {
    pool: &'a Arc<Pool<E>>,
    caller: Caller,
}

impl<'a, E: Engine> Access<'a, E> {
    #[track_caller]
    pub(super) fn new(pool: &'a Arc<Pool<E>>) -> Self {
        let caller = Location::caller();
        Self { pool, caller }
    }

    pub(super) async fn checkout(self) -> Result<Lease<E>, Error> {
        Ok(Lease::new(self.pool.checkout(self.caller).await?))
    }
}

impl<E: Engine> Lease<E> {
    /// It is checked out already.
    fn checkout(&mut self) -> Ready<Result<&mut Self, Error>> {
        ready(Ok(self))
    }
}

/// Implements sqlx's executor for a type whose `checkout` gives a lease.
macro_rules! impl_executor {
    ($executor:ty) => {
        #[allow(clippy::mut_mut, reason = "one of the two checkouts gives a reference")]
        impl<'c, E: Engine> Executor<'c> for $executor {
            type Database = E;

            fn fetch_many<'e, 'q: 'e, Q>(
                self,
                query: Q,
            ) -> BoxStream<'e, Result<Either<E::QueryResult, E::Row>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, E>,
            {
                Box::pin(async_stream::try_stream! {
                    let lease = &mut self.checkout().await?;
                    let deadline = Instant::now() + lease.limit;
                    let span = lease.span();
                    let connection = lease.start(Progress::Running)?;
                    let mut rows = E::executor(connection).fetch_many(query);
                    let ended = loop {
                        match timeout_at(deadline, rows.next()).await {
                            Ok(Some(Ok(row))) => yield row,
                            Ok(Some(Err(error))) => break Err(error),
                            Ok(None) => break Ok(()),
                            Err(_elapsed) => break Err(statement_timeout()),
                        }
                    };
                    drop(rows);
                    lease.end(&ended);
                    if let Err(error) = &ended {
                        span.record("error", &*errors::code(error));
                    }
                    ended?;
                })
            }

            fn fetch_optional<'e, 'q: 'e, Q>(
                self,
                query: Q,
            ) -> BoxFuture<'e, Result<Option<E::Row>, Error>>
            where
                'c: 'e,
                Q: 'q + Execute<'q, E>,
            {
                // To the end, where SQLite commits: the row of a `RETURNING` comes before that.
                let rows = self.fetch_many(query);
                let first = rows.try_fold(None, |first: Option<_>, next| {
                    ready(Ok(first.or(next.right())))
                });
                Box::pin(first)
            }

            fn prepare_with<'e>(
                self,
                _: SqlStr,
                _: &'e [E::TypeInfo],
            ) -> BoxFuture<'e, Result<E::Statement, Error>>
            where
                'c: 'e,
            {
                // sqlx prepares a statement when it runs.
                let refused = Error::Protocol("no statement is prepared alone".to_owned());
                Box::pin(ready(Err(refused)))
            }

            fn describe<'e>(self, _: SqlStr) -> BoxFuture<'e, Result<Describe<E>, Error>>
            where
                'c: 'e,
            {
                let refused = Error::Protocol("only sqlx's macros describe a statement".to_owned());
                Box::pin(ready(Err(refused)))
            }
        }
    };
}

impl_executor!(Access<'c, E>);
impl_executor!(&'c mut Lease<E>);
