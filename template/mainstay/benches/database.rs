//! The cost of a statement through `mainstay::database`, beside well-configured pools of sqlx and beside one
//! connection without a pool: `cargo bench --bench database --features testing,postgres`, in about three minutes.
//! With `-- --quick`, a few short rounds show that it works.
//!
//! The rival on SQLite is a pool of readers and a pool of one writer, with the same pragmas; on Postgres, one
//! pool. It pings, within a time limit, only connections that were idle for a second, and begins a transaction
//! (`BEGIN IMMEDIATE` on SQLite) in a task of its own, since sqlx's `begin` must not be cancelled.
//!
//! All use the same database, and take turns; the median of the rounds counts. One statement at a time leaves the
//! processors idle, and most of its time is their wake-up: it is measured again while other threads keep them awake.
//! Then 16 tasks work at once: how much they get done, how many statements fail, and how long the slowest takes.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "nothing else runs on its threads"
)]

#[allow(dead_code, reason = "each benchmark uses a part")]
mod common;

#[cfg(feature = "sqlite")]
#[path = "database"]
mod sqlite {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

    type Db = sqlx::Sqlite;
    const BEGIN: &str = "BEGIN IMMEDIATE";

    /// The options of the rival: of readers, and of the only writer.
    fn options(url: &str) -> (SqliteConnectOptions, Option<SqliteConnectOptions>) {
        let options = url.parse::<SqliteConnectOptions>().expect("a URL");
        let writer = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        (writer.clone().pragma("query_only", "ON"), Some(writer))
    }

    pub(super) mod contest;
}

#[cfg(feature = "postgres")]
#[path = "database"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
mod postgres {
    use sqlx::postgres::PgConnectOptions;

    type Db = sqlx::Postgres;
    const BEGIN: &str = "BEGIN";

    /// The options of the rival, which has one pool.
    fn options(url: &str) -> (PgConnectOptions, Option<PgConnectOptions>) {
        (url.parse().expect("a URL"), None)
    }

    pub(super) mod contest;
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    #[cfg(feature = "sqlite")]
    {
        println!("SQLite");
        sqlite::contest::run().await;
    }
    #[cfg(feature = "postgres")]
    {
        println!("Postgres");
        postgres::contest::run().await;
    }
}
