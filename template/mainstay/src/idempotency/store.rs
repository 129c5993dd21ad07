//! The statements on the table of answers. Their text is the same for each engine, and their types are not.

use sqlx::migrate::Migrator;

use super::key::Keyed;
use crate::database::{Access, Engine, Transaction};

/// A row of the table, without its key.
#[derive(Debug, sqlx::FromRow)]
#[doc(hidden)]
pub struct Row {
    pub(super) request: Vec<u8>,
    pub(super) status: i32,
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// An engine that can store answers: every [`Engine`]. The trait is sealed, and its hidden items are private to
/// this crate.
pub trait Store: Engine {
    /// The migrations of the table.
    #[doc(hidden)]
    fn migrations() -> &'static Migrator;

    #[doc(hidden)]
    fn find(
        transaction: &mut Transaction<Self>,
        key: &Keyed,
    ) -> impl Future<Output = Result<Option<Row>, sqlx::Error>> + Send;

    #[doc(hidden)]
    fn insert(
        transaction: &mut Transaction<Self>,
        key: &Keyed,
        row: Row,
        now: i64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Removes some of the answers that were stored before this time.
    #[doc(hidden)]
    fn remove(
        transaction: &mut Transaction<Self>,
        before: i64,
        most: i64,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;

    #[doc(hidden)]
    fn count(access: Access<'_, Self>) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

macro_rules! store {
    ($feature:literal, $engine:ty, $directory:literal) => {
        #[cfg(feature = $feature)]
        impl Store for $engine {
            fn migrations() -> &'static Migrator {
                static MIGRATIONS: Migrator = sqlx::migrate!($directory);
                &MIGRATIONS
            }

            async fn find(
                transaction: &mut Transaction<Self>,
                key: &Keyed,
            ) -> Result<Option<Row>, sqlx::Error> {
                let query = sqlx::query_as(
                    "SELECT request, status, head, body FROM idempotency
                     WHERE route = $1 AND caller = $2 AND key = $3",
                );
                let query = query.bind(&key.route).bind(&*key.caller.0).bind(&key.key);
                query.fetch_optional(&mut **transaction).await
            }

            async fn insert(
                transaction: &mut Transaction<Self>,
                key: &Keyed,
                row: Row,
                now: i64,
            ) -> Result<(), sqlx::Error> {
                let query = sqlx::query(
                    "INSERT INTO idempotency (route, caller, key, request, status, head, body, kept_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                );
                let query = query
                    .bind(&key.route)
                    .bind(&*key.caller.0)
                    .bind(&key.key)
                    .bind(row.request)
                    .bind(row.status)
                    .bind(row.head)
                    .bind(row.body)
                    .bind(now);
                query.execute(&mut **transaction).await.map(drop)
            }

            async fn remove(
                transaction: &mut Transaction<Self>,
                before: i64,
                most: i64,
            ) -> Result<u64, sqlx::Error> {
                let query = sqlx::query(
                    "DELETE FROM idempotency WHERE (route, caller, key) IN (
                         SELECT route, caller, key FROM idempotency
                         WHERE kept_at < $1 ORDER BY kept_at LIMIT $2
                     )",
                );
                let query = query.bind(before).bind(most);
                let removed = query.execute(&mut **transaction).await?;
                Ok(removed.rows_affected())
            }

            async fn count(access: Access<'_, Self>) -> Result<u64, sqlx::Error> {
                let query = sqlx::query_scalar("SELECT count(*) FROM idempotency");
                let kept: i64 = query.fetch_one(access).await?;
                Ok(kept.cast_unsigned())
            }
        }
    };
}

store!("sqlite", sqlx::Sqlite, "migrations/sqlite");
store!("postgres", sqlx::Postgres, "migrations/postgres");
