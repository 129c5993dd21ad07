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

use super::engine::{self, Db};
use super::loan::Ticket;
use super::numbers::Discard;
use super::pool::Live;
use super::{Connection, QueryResult, Row, Statement, TypeInfo};

/// A connection that is lent until this is dropped. Statements run on it as on any connection of
/// sqlx: `.fetch_one(&mut lease)`.
pub struct Lease {
    /// There until it is given back.
    lent: Option<(Live, Ticket)>,
    progress: Progress,
    transaction: Transaction,
    limit: Duration,
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

    /// The connection itself, for as long as it takes, and for good: nobody else gets it afterwards.
    pub(super) fn seize(&mut self) -> Result<&mut Connection, Error> {
        self.start(Progress::Turning)
    }

    async fn turn(&mut self, statement: &'static str) -> Result<(), Error> {
        let limit = self.limit;
        let turned = self.start(Progress::Turning)?.execute(statement);
        let turned = bounded(limit, turned).await;
        self.end(turned).map(drop)
    }

    /// The connection, for something that begins now.
    fn start(&mut self, progress: Progress) -> Result<&mut Connection, Error> {
        if self.progress == Progress::UnderWay {
            self.spoil();
        }
        let of_use = matches!(self.progress, Progress::Done | Progress::UnderWay);
        let Some((live, _)) = self.lent.as_mut().filter(|_| of_use) else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        self.progress = progress;
        Ok(&mut live.connection)
    }

    /// What came of it.
    fn end<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.progress = Progress::Done;
        if let Err(error) = &result {
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

    fn spoil(&mut self) {
        if self.transaction == Transaction::Open {
            self.transaction = Transaction::Spoilt;
        }
    }
}

/// The result, unless that takes longer than any statement may.
async fn bounded<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "statement timeout").into());
    timeout(limit, work).await.unwrap_or_else(|_| late())
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
    match progress {
        // There is nobody to say goodbye to.
        Progress::Broken => return pool.discard(Discard::Broken),
        Progress::Turning => return pool.retire(live, Discard::Unfinished).await,
        Progress::UnderWay | Progress::Done => {}
    }
    let tidied = timeout(pool.limits().ping, async {
        if progress == Progress::UnderWay {
            // Answered when what was under way has ended.
            live.connection.ping().await?;
            live.interrupt.forget();
        }
        if transaction == Transaction::None {
            return Ok(());
        }
        match live.connection.execute("ROLLBACK").await {
            // There was none left to undo.
            Err(error) if !engine::is_fatal(&error) => Ok(()),
            undone => undone.map(drop),
        }
    });
    match tidied.await {
        Ok(Ok(())) => {
            if let Err((live, _ticket)) = pool.take_back(live, ticket) {
                pool.retire(live, Discard::Closed).await;
            }
        }
        Ok(Err(_)) => pool.discard(Discard::Broken),
        Err(_) => pool.discard(Discard::Unfinished),
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
            let limit = self.limit;
            let done = self.start(Progress::UnderWay)?.execute(query);
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
            let limit = self.limit;
            let mut rows = self.start(Progress::UnderWay)?.fetch_many(query);
            let ended = loop {
                // The time that the caller takes for a row does not count.
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
            let limit = self.limit;
            let rows = self.start(Progress::UnderWay)?.fetch_all(query);
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
            let limit = self.limit;
            let mut rows = self.start(Progress::UnderWay)?.fetch_many(query);
            // To the end: a statement that answers with a row may still fail, as when its commit
            // does not fit on the disk. On SQLite, sqlx's own would take the row and call it done.
            let first = bounded(limit, async {
                let mut first = None;
                while let Some(next) = rows.next().await.transpose()? {
                    if let Either::Right(row) = next {
                        first.get_or_insert(row);
                    }
                }
                Ok(first)
            })
            .await;
            drop(rows);
            self.end(first)
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [TypeInfo],
    ) -> BoxFuture<'e, Result<Statement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let limit = self.limit;
            let prepared = self.start(Progress::UnderWay)?;
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
            let described = self.start(Progress::UnderWay)?.describe(sql);
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

#[cfg(test)]
mod tests {
    use crate::frame::database::Refusal;
    use crate::frame::database::tests::Fixture;

    #[tokio::test]
    async fn a_row_that_is_answered_has_been_committed() {
        let fixture = Fixture::new().await;
        let table = "CREATE TABLE parts (
            id INTEGER PRIMARY KEY,
            thing INTEGER REFERENCES things (id) DEFERRABLE INITIALLY DEFERRED
        )";
        let write = || fixture.database.write();
        sqlx::query(table).execute(write()).await.unwrap();
        // The row is there at once, and the commit fails.
        let orphan = sqlx::query("INSERT INTO parts (id, thing) VALUES (1, 77) RETURNING id");
        let error = orphan.fetch_one(write()).await.unwrap_err();
        let refusal = Refusal::of(&error);
        assert!(matches!(refusal, Refusal::Related { .. }), "{error}");
    }
}
