//! What a statement costs by way of the database, beside sqlx's own pool and beside a connection that
//! nobody shares, for each engine that is switched on: `cargo bench --bench database --features
//! testing`, in about half a minute.
//!
//! All three on the same database, and in turns, in one order and then in the other, so that a noisy
//! machine is as noisy for each; the middle of the rounds counts. Then many write at once, for whom
//! it counts how many fail and who waits longest as well. sqlx's pool has the options that it comes
//! with; a SQLite file is in the mode that the database has put it in, for everybody.

#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "nobody else is on its threads")]

#[cfg(feature = "sqlite")]
#[path = "database"]
mod sqlite {
    type Db = sqlx::Sqlite;

    pub(super) mod contest;
}

#[cfg(feature = "postgres")]
#[path = "database"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
mod postgres {
    type Db = sqlx::Postgres;

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
