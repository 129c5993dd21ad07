//! A connection that is checked out. All statements pass through here, so that its state is known when it
//! returns to the pool.

use std::fmt;
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use sqlx::{Connection as _, Describe, Either, Error, Execute, Executor, SqlStr};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Span;

use super::engine::Engine;
use super::numbers::Discard;
use super::pool::{Checkout, Live, Ticket};
use super::statement::{self, Statement};
use crate::context::Context;

/// A connection that returns to its pool when this is dropped. It is an executor of sqlx by `&mut lease`.
pub struct Lease<E: Engine> {
    /// There until it is given back.
    lent: Option<Checkout<E>>,
    progress: Progress,
    transaction: Transaction,
    limit: Duration,
    /// Around the last thing that was asked, until that is done.
    span: Span,
}

/// What has become of the last thing that was asked of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Done,
    /// It was begun, and nobody has waited for its end.
    UnderWay,
    /// The same, and nobody can say on which side of a transaction's begin or end that is.
    InDoubt,
    /// Nothing good will come of this connection any more.
    Broken,
    /// Somebody has it for good.
    Detached,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// One of its statements has failed.
    Aborted,
}

impl<E: Engine> Lease<E> {
    pub(super) fn new((live, ticket): Checkout<E>) -> Self {
        let limit = ticket.pool.limits().statement;
        Self {
            lent: Some((live, ticket)),
            progress: Progress::Done,
            transaction: Transaction::None,
            limit,
            span: Span::none(),
        }
    }

    /// Begins a transaction. Without a [commit](Self::commit), it is undone when the lease ends.
    pub(super) async fn begin(&mut self, how: &'static str) -> Result<(), Error> {
        self.control(how).await?;
        self.transaction = Transaction::Open;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        if self.transaction == Transaction::Aborted || self.progress != Progress::Done {
            // Postgres would undo it, and call that a success.
            let words = "a transaction in which a statement has failed cannot be committed";
            return Err(Error::Protocol(words.to_owned()));
        }
        self.control("COMMIT").await?;
        self.transaction = Transaction::None;
        Ok(())
    }

    /// Undoes a transaction. If that is not possible at once, it is done when the lease ends.
    pub(super) async fn rollback(&mut self) {
        if self.progress == Progress::Done && self.undo("ROLLBACK").await.is_ok() {
            self.transaction = Transaction::None;
        }
    }

    /// Undoes a transaction or a part of it, and with that the failure of a statement in it.
    pub(super) async fn undo(&mut self, how: &'static str) -> Result<(), Error> {
        if self.transaction == Transaction::Aborted && self.progress == Progress::Done {
            self.transaction = Transaction::Open;
        }
        self.control(how).await
    }

    /// The connection itself, for as long as it takes, and for good: nobody else gets it afterwards.
    pub(super) fn detach(&mut self) -> Result<&mut E::Connection, Error> {
        self.start(Progress::Detached, "")
    }

    async fn control(&mut self, statement: &'static str) -> Result<(), Error> {
        let limit = self.limit;
        let turned = E::executor(self.start(Progress::InDoubt, statement)?).execute(statement);
        let turned = bounded(limit, turned).await;
        self.end(turned).map(drop)
    }

    /// The connection, for something that begins now.
    fn start(&mut self, progress: Progress, sql: &str) -> Result<&mut E::Connection, Error> {
        if self.progress == Progress::UnderWay && self.transaction == Transaction::Open {
            self.transaction = Transaction::Aborted;
        }
        if self.transaction == Transaction::Aborted {
            // Postgres refuses it. SQLite may have undone the transaction, and would go on without.
            let words = "a statement of this transaction has failed before";
            return Err(Error::Protocol(words.to_owned()));
        }
        if Context::time_left().is_some_and(|left| left.is_zero()) {
            return Err(late());
        }
        let of_use = matches!(self.progress, Progress::Done | Progress::UnderWay);
        let Some((live, ticket)) = self.lent.as_mut().filter(|_| of_use) else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        self.progress = progress;
        self.span = statement::begun(E::SYSTEM, sql, ticket.place);
        Ok(&mut live.connection)
    }

    /// What came of it.
    fn end<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.progress = Progress::Done;
        let span = std::mem::replace(&mut self.span, Span::none());
        if let Err(error) = &result {
            statement::failed(&span, error);
            self.judge(error);
        }
        result
    }

    fn judge(&mut self, error: &Error) {
        if (E::ERRORS.is_fatal)(error) {
            self.progress = Progress::Broken;
        }
        if matches!(error, Error::Database(_)) {
            self.abort();
        }
    }

    /// A statement has failed, or was given up.
    fn abort(&mut self) {
        if self.transaction == Transaction::Open || E::MAY_LEAVE_TRANSACTION_OPEN {
            self.transaction = Transaction::Aborted;
        }
    }
}

/// The result, unless that takes longer than any statement may.
async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> Error {
    io::Error::new(io::ErrorKind::TimedOut, "statement timeout").into()
}

impl<E: Engine> Drop for Lease<E> {
    fn drop(&mut self) {
        let Some((live, ticket)) = self.lent.take() else {
            return;
        };
        let is_clean = self.progress == Progress::Done && self.transaction == Transaction::None;
        let untidy = if is_clean {
            ticket.pool.clone().take_back(live, ticket)
        } else {
            Err((live, ticket))
        };
        if let Err((live, ticket)) = untidy
            && let Ok(runtime) = Handle::try_current()
        {
            let tidied = tidy(live, ticket, self.progress, self.transaction);
            // It has a time limit, and a close of the pool waits for it.
            #[expect(clippy::disallowed_methods)]
            drop(runtime.spawn(tidied));
        }
    }
}

/// Brings a connection back into the state in which the next one wants it, or closes it.
async fn tidy<E: Engine>(
    mut live: Live<E>,
    ticket: Ticket<E>,
    progress: Progress,
    transaction: Transaction,
) {
    let pool = ticket.pool.clone();
    if progress != Progress::Done {
        E::interrupt(&live.interrupt);
    }
    let reason = match progress {
        Progress::Broken => Discard::Broken,
        Progress::InDoubt => Discard::Unfinished,
        Progress::Detached => Discard::Closed,
        Progress::UnderWay | Progress::Done => {
            match undo(&mut live, progress, transaction, pool.limits().ping).await {
                Ok(()) => match pool.take_back(live, ticket) {
                    Ok(()) => return,
                    Err((live, ticket)) => return pool.retire(live, ticket, Discard::Closed).await,
                },
                Err(reason) => reason,
            }
        }
    };
    pool.retire(live, ticket, reason).await;
}

/// Waits for the end of what is under way, and undoes a transaction.
async fn undo<E: Engine>(
    live: &mut Live<E>,
    progress: Progress,
    transaction: Transaction,
    within: Duration,
) -> Result<(), Discard> {
    let undone = async {
        if progress == Progress::UnderWay {
            // Answered when what was under way has ended.
            live.connection.ping().await?;
            E::clear_interrupt(&live.interrupt);
        }
        if transaction == Transaction::None {
            return Ok(());
        }
        match E::executor(&mut live.connection).execute("ROLLBACK").await {
            Err(error) if (E::ERRORS.is_no_transaction)(&error) => Ok(()),
            undone => undone.map(drop),
        }
    };
    match timeout(within, undone).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Discard::Broken),
        Err(_) => Err(Discard::Unfinished),
    }
}

impl<'c, E: Engine> Executor<'c> for &'c mut Lease<E> {
    type Database = E;

    fn execute<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<E::QueryResult, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async move {
            let (limit, query) = (self.limit, Statement::<E>::of(query));
            let done = E::executor(self.start(Progress::UnderWay, query.text())?).execute(query);
            let done = bounded(limit, done).await;
            self.end(done)
        })
    }

    fn fetch_many<'e, 'q: 'e, Q>(
        self,
        query: Q,
    ) -> BoxStream<'e, Result<Either<E::QueryResult, E::Row>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async_stream::try_stream! {
            let (limit, query) = (self.limit, Statement::<E>::of(query));
            let mut rows = E::executor(self.start(Progress::UnderWay, query.text())?).fetch_many(query);
            let ended = loop {
                // The time that the caller takes for a row does not count here. Postgres counts it,
                // once the rows that are under way fill the socket: long results are read in pages.
                let next = async { rows.next().await.transpose() };
                match bounded(limit, next).await {
                    Ok(Some(row)) => yield row,
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            drop(rows);
            self.end(ended)?;
        })
    }

    fn fetch_all<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Vec<E::Row>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async move {
            let (limit, query) = (self.limit, Statement::<E>::of(query));
            let rows = E::executor(self.start(Progress::UnderWay, query.text())?).fetch_all(query);
            let rows = bounded(limit, rows).await;
            self.end(rows)
        })
    }

    fn fetch_optional<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Option<E::Row>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E>,
    {
        Box::pin(async move {
            let (limit, query) = (self.limit, Statement::<E>::of(query));
            let mut rows =
                E::executor(self.start(Progress::UnderWay, query.text())?).fetch_many(query);
            // To its end, where SQLite commits: the row of a `RETURNING` is there before that.
            let first = async {
                let mut first = None;
                while let Some(row) = rows.next().await.transpose()? {
                    first = first.or(row.right());
                }
                Ok(first)
            };
            let first = bounded(limit, first).await;
            drop(rows);
            self.end(first)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [E::TypeInfo],
    ) -> BoxFuture<'e, Result<E::Statement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let limit = self.limit;
            let prepared = E::executor(self.start(Progress::UnderWay, sql.as_str())?);
            let prepared = bounded(limit, prepared.prepare_with(sql, parameters)).await;
            self.end(prepared)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<E>, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let limit = self.limit;
            let described =
                E::executor(self.start(Progress::UnderWay, sql.as_str())?).describe(sql);
            let described = bounded(limit, described).await;
            self.end(described)
        })
    }
}

impl<E: Engine> fmt::Debug for Lease<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("progress", &self.progress)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}
