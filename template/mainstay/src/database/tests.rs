//! The tests that hold for every engine, once for each.

#[cfg(feature = "sqlite")]
#[path = "tests"]
pub(crate) mod on_sqlite {
    /// The engine of the suite.
    type E = sqlx::Sqlite;

    pub(crate) mod suite;
}

#[cfg(feature = "postgres")]
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
pub(crate) mod on_postgres {
    /// The engine of the suite.
    type E = sqlx::Postgres;

    pub(crate) mod suite;
}
