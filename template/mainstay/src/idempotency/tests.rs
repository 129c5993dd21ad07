//! The same tests on each engine.

/// The tests, on SQLite.
#[cfg(feature = "sqlite")]
#[path = "tests"]
mod on_sqlite {
    /// The engine of the suite.
    type E = sqlx::Sqlite;

    mod suite;
}

/// The same suite on Postgres.
#[cfg(feature = "postgres")]
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
mod on_postgres {
    /// The engine of the suite.
    type E = sqlx::Postgres;

    mod suite;
}
