//! A connection in somebody's hands. Whatever is asked of it passes here, so that it is known in what
//! state it comes back.

use std::fmt;
use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt};
use sqlx::{Connection as _, Describe, Either, Error, Execute, Executor, SqlStr};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::Span;

use super::engine::{self, Db};
use super::loan::Ticket;
use super::numbers::Discard;
use super::pool::Live;
use super::statement::{self, Statement};
use super::{Connection, Prepared, QueryResult, Row, TypeInfo};
use crate::frame::context::Context;

/// A connection that is lent until this is dropped. Statements run on it as on any connection of
/// sqlx: `.fetch_one(&mut lease)`.
pub struct Lease {
    /// There until it is given back.
    lent: Option<(Live, Ticket)>,
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
    Turning,
    /// Nothing good will come of this connection any more.
    Broken,
    /// Somebody has it for good.
    Seized,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// One of its statements has failed.
    Spoilt,
}

impl Lease {
    pub(super) fn new(live: Live, ticket: Ticket) -> Self {
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
        self.turn(how).await?;
        self.transaction = Transaction::Open;
        Ok(())
    }

    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        if self.transaction == Transaction::Spoilt || self.progress != Progress::Done {
            // Postgres would undo it, and call that a success.
            let words = "a transaction in which a statement has failed cannot be committed";
            return Err(Error::Protocol(words.to_owned()));
        }
        self.turn("COMMIT").await?;
        self.transaction = Transaction::None;
        Ok(())
    }

    /// Undoes a transaction. If that is not possible at once, it is done when the lease ends.
    pub(super) async fn roll_back(&mut self) {
        if self.progress == Progress::Done && self.undo("ROLLBACK").await.is_ok() {
            self.transaction = Transaction::None;
        }
    }

    /// Undoes a transaction or a part of it, and with that the failure of a statement in it.
    pub(super) async fn undo(&mut self, how: &'static str) -> Result<(), Error> {
        if self.transaction == Transaction::Spoilt && self.progress == Progress::Done {
            self.transaction = Transaction::Open;
        }
        self.turn(how).await
    }

    /// The connection itself, for as long as it takes, and for good: nobody else gets it afterwards.
    pub(super) fn seize(&mut self) -> Result<&mut Connection, Error> {
        self.start(Progress::Seized, "")
    }

    async fn turn(&mut self, statement: &'static str) -> Result<(), Error> {
        let limit = self.limit;
        let turned = self.start(Progress::Turning, statement)?.execute(statement);
        let turned = bounded(limit, turned).await;
        self.end(turned).map(drop)
    }

    /// The connection, for something that begins now.
    fn start(&mut self, progress: Progress, sql: &str) -> Result<&mut Connection, Error> {
        if self.progress == Progress::UnderWay && self.transaction == Transaction::Open {
            self.transaction = Transaction::Spoilt;
        }
        if self.transaction == Transaction::Spoilt {
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
        self.span = statement::begun(sql, ticket.place);
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
        if engine::is_fatal(error) {
            self.progress = Progress::Broken;
        }
        if matches!(error, Error::Database(_)) {
            self.spoil();
        }
    }

    /// A statement has failed, or was given up.
    fn spoil(&mut self) {
        if self.transaction == Transaction::Open || engine::MAY_BE_LEFT_OPEN {
            self.transaction = Transaction::Spoilt;
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

impl Drop for Lease {
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
async fn tidy(mut live: Live, ticket: Ticket, progress: Progress, transaction: Transaction) {
    let pool = ticket.pool.clone();
    if progress != Progress::Done {
        live.interrupt.ask();
    }
    let reason = match progress {
        Progress::Broken => Discard::Broken,
        Progress::Turning => Discard::Unfinished,
        Progress::Seized => Discard::Closed,
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
async fn undo(
    live: &mut Live,
    progress: Progress,
    transaction: Transaction,
    within: Duration,
) -> Result<(), Discard> {
    let undone = async {
        if progress == Progress::UnderWay {
            // Answered when what was under way has ended.
            live.connection.ping().await?;
            live.interrupt.forget();
        }
        if transaction == Transaction::None {
            return Ok(());
        }
        match live.connection.execute("ROLLBACK").await {
            Err(error) if engine::had_none(&error) => Ok(()),
            undone => undone.map(drop),
        }
    };
    match timeout(within, undone).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Discard::Broken),
        Err(_) => Err(Discard::Unfinished),
    }
}

impl<'c> Executor<'c> for &'c mut Lease {
    type Database = Db;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<QueryResult, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async move {
            let (limit, query) = (self.limit, Statement::of(query));
            let done = self.start(Progress::UnderWay, query.text())?.execute(query);
            let done = bounded(limit, done).await;
            self.end(done)
        })
    }

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<QueryResult, Row>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async_stream::try_stream! {
            let (limit, query) = (self.limit, Statement::of(query));
            let mut rows = self.start(Progress::UnderWay, query.text())?.fetch_many(query);
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

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<Row>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async move {
            let (limit, query) = (self.limit, Statement::of(query));
            let rows = self
                .start(Progress::UnderWay, query.text())?
                .fetch_all(query);
            let rows = bounded(limit, rows).await;
            self.end(rows)
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<Row>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Db>,
    {
        Box::pin(async move {
            let (limit, query) = (self.limit, Statement::of(query));
            let mut rows = self
                .start(Progress::UnderWay, query.text())?
                .fetch_many(query);
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
        parameters: &'e [TypeInfo],
    ) -> BoxFuture<'e, Result<Prepared, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let limit = self.limit;
            let prepared = self.start(Progress::UnderWay, sql.as_str())?;
            let prepared = bounded(limit, prepared.prepare_with(sql, parameters)).await;
            self.end(prepared)
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Db>, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let limit = self.limit;
            let described = self.start(Progress::UnderWay, sql.as_str())?.describe(sql);
            let described = bounded(limit, described).await;
            self.end(described)
        })
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("progress", &self.progress)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}
