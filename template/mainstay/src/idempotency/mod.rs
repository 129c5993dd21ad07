//! Idempotency keys: a client may send a request again with the same `Idempotency-Key`; the service does the
//! work once, and gives the first answer each time.
//!
//! ```ignore
//! async fn create(State(orders): State<Orders>, once: Once<Json<NewOrder>>) -> Result<Response, Problem> {
//!     let work = async |transaction: &mut Transaction, Json(new): Json<NewOrder>| {
//!         let order = orders.add(transaction, &new).await?;
//!         Ok((StatusCode::CREATED, Json(order)))
//!     };
//!     once.run(&orders.keys, work).await
//! }
//! ```
//!
//! - The answer is stored in the transaction of the work. A crash at any time leaves both or neither: no work
//!   is done twice, and no key is stuck.
//! - Final answers are stored: success, and client errors (4xx) that do not ask for a retry. The work of a
//!   client error is rolled back, with a key or without. After a server error (5xx), nothing is stored, and the
//!   work is rolled back.
//! - The same key with another request gets 422. A key whose request is in progress gets 409.
//! - A key belongs to its route, and to its [`Caller`] if requests have one.
//!
//! Only effects in the transaction are covered: an e-mail that the work sends is sent.

mod answer;
mod described;
mod key;
mod keys;
mod numbers;
mod settings;
mod store;

use std::marker::PhantomData;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::database::Transaction;
use crate::header_names::IDEMPOTENCY_KEY;
use crate::problem::{Fault, Problem};
use answer::Answer;
use key::Keyed;
use numbers::Outcome;

pub use described::KeyHeader;
pub(crate) use described::PROBLEMS;
pub use key::Caller;
pub use keys::Keys;
pub(crate) use numbers::write_metrics;
pub use settings::Settings;
pub use store::Store;

/// The migrations of the table of answers, for [`Database::new`](crate::database::Database::new).
#[must_use]
pub fn migrations<E: Store>() -> &'static sqlx::migrate::Migrator {
    E::migrations()
}

/// The settings of `[idempotency]` with their defaults, for [`Service::settings`](crate::Service::settings).
pub const SETTINGS: &str = include_str!("../../config/idempotency.toml");

/// The header of a request that may be sent again.
pub const KEY: HeaderName = IDEMPOTENCY_KEY;

/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// An extractor for a request of type `T` whose work is done once per key. A request without a key is worked on
/// each time, or refused if the key is [`Required`].
#[derive(Debug)]
pub struct Once<T, K = Optional> {
    key: Option<Keyed>,
    input: T,
    requirement: PhantomData<K>,
}

/// The route takes requests without a key as well.
#[derive(Debug)]
pub struct Optional;

/// The route refuses requests without a key.
#[derive(Debug)]
pub struct Required;

/// Whether a route requires a key: [`Optional`] or [`Required`].
pub trait KeyRequirement {
    /// Whether a request without a key is refused.
    const IS_REQUIRED: bool;
}

impl KeyRequirement for Optional {
    const IS_REQUIRED: bool = false;
}

impl KeyRequirement for Required {
    const IS_REQUIRED: bool = true;
}

const MISSING: Problem = Problem::new(
    StatusCode::BAD_REQUEST,
    "idempotency_key_missing",
    "An idempotency key is required",
);
const IN_USE: Problem = Problem::new(
    StatusCode::CONFLICT,
    "idempotency_key_in_use",
    "A request with this idempotency key is in progress; retry later",
);
const REUSED: Problem = Problem::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "idempotency_key_reused",
    "This idempotency key belongs to another request",
);

impl<T, K> Once<T, K> {
    /// Does the work in a transaction together with its answer. If it was done before, this returns the stored
    /// answer, with the header [`REPLAYED`].
    ///
    /// # Errors
    ///
    /// The error of the work. Also if the key belongs to another request, if its request is in progress, and if
    /// the database does not answer.
    #[track_caller]
    pub fn run<R, W, E>(
        self,
        keys: &Keys<E>,
        work: W,
    ) -> impl Future<Output = Result<Response, Problem>> + use<'_, T, K, R, W, E>
    where
        R: IntoResponse,
        E: Store,
        W: AsyncFnOnce(&mut Transaction<E>, T) -> Result<R, Problem>,
    {
        // The log names the caller as the holder of the connection.
        let begun = keys.database().begin();
        let Self { key, input, .. } = self;
        async move {
            let transaction = begun.await?;
            match key {
                Some(key) => keyed(keys, key, transaction, work, input).await,
                None => plain(transaction, work, input).await,
            }
        }
    }
}

async fn plain<T, R: IntoResponse, E: Store>(
    mut transaction: Transaction<E>,
    work: impl AsyncFnOnce(&mut Transaction<E>, T) -> Result<R, Problem>,
    input: T,
) -> Result<Response, Problem> {
    let response = work(&mut transaction, input).await.into_response();
    if answer::is_done(response.status()) {
        transaction.commit().await?;
    }
    Ok(response)
}

async fn keyed<T, R: IntoResponse, E: Store>(
    keys: &Keys<E>,
    key: Keyed,
    mut transaction: Transaction<E>,
    work: impl AsyncFnOnce(&mut Transaction<E>, T) -> Result<R, Problem>,
    input: T,
) -> Result<Response, Problem> {
    let attempted = attempt(keys, &key, &mut transaction, work, input).await;
    if let Ok(Attempt::Kept(response)) = attempted {
        transaction.commit().await?;
        Outcome::First.count();
        return Ok(response);
    }
    // Waited for, so that whoever asks again at once does not find the key in use.
    transaction.rollback().await;
    attempted.map(Attempt::into_response)
}

/// What a request with a key has come to, before its transaction ends.
enum Attempt {
    /// The answer is kept, once this is committed.
    Kept(Response),
    /// There is nothing to commit.
    Told(Response),
}

impl Attempt {
    fn into_response(self) -> Response {
        match self {
            Self::Kept(response) | Self::Told(response) => response,
        }
    }
}

async fn attempt<T, R: IntoResponse, E: Store>(
    keys: &Keys<E>,
    key: &Keyed,
    transaction: &mut Transaction<E>,
    work: impl AsyncFnOnce(&mut Transaction<E>, T) -> Result<R, Problem>,
    input: T,
) -> Result<Attempt, Problem> {
    if !transaction.try_claim(&key.name()).await? {
        return Err(in_use());
    }
    // A statement of its own: it sees what was committed before the claim.
    if let Some((request, answer)) = keys.recall(transaction, key).await? {
        if request != key.request {
            Outcome::Reused.count();
            return Err(REUSED.with([about_key("was sent with another request before")]));
        }
        Outcome::Replayed.count();
        return Ok(Attempt::Told(answer.into_response()));
    }
    keys.have_room()?;
    transaction.mark().await?;
    let response = work(transaction, input).await.into_response();
    let status = response.status();
    if !answer::is_final(status) {
        return Ok(Attempt::Told(response));
    }
    if !answer::is_done(status) && transaction.undo_to_mark().await.is_err() {
        // All of it is undone then, and whoever asks again is the first.
        return Ok(Attempt::Told(response));
    }
    let (answer, response) = Answer::of(response, keys.answer_limit()).await?;
    if !keys.keep(transaction, key, &answer).await? {
        return Err(in_use());
    }
    Ok(Attempt::Kept(response))
}

fn in_use() -> Problem {
    /// In seconds.
    const SOON: HeaderValue = HeaderValue::from_static("1");
    Outcome::InUse.count();
    IN_USE.with_header(header::RETRY_AFTER, SOON)
}

fn about_key(words: &'static str) -> Fault {
    Fault::in_header(KEY.as_str(), words)
}

/// Whether this answer is a stored one.
#[must_use]
pub fn is_replayed(response: &Response) -> bool {
    response.headers().contains_key(REPLAYED)
}

impl<T, S, K> FromRequest<S> for Once<T, K>
where
    T: FromRequest<S>,
    S: Send + Sync,
    K: KeyRequirement,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let key = key::of(request.headers()).map_err(IntoResponse::into_response)?;
        let (key, request) = match key {
            Some(key) => {
                let (parts, body) = request.into_parts();
                let body = read(body).await.map_err(IntoResponse::into_response)?;
                let key = Keyed::new(key, &parts, &body);
                (Some(key), Request::from_parts(parts, Body::from(body)))
            }
            None if K::IS_REQUIRED => {
                let missing = MISSING.with([about_key("is missing")]);
                return Err(missing.into_response());
            }
            None => (None, request),
        };
        let input = T::from_request(request, state).await;
        Ok(Self {
            key,
            input: input.map_err(IntoResponse::into_response)?,
            requirement: PhantomData,
        })
    }
}

/// The body, which has its limit already.
async fn read(body: Body) -> Result<Bytes, Problem> {
    let body = axum::body::to_bytes(body, usize::MAX).await;
    body.map_err(|_| Problem::BAD_REQUEST)
}

/// The tests, on SQLite.
#[cfg(all(test, feature = "sqlite"))]
#[path = "tests"]
mod on_sqlite {
    /// The engine of the suite.
    type E = sqlx::Sqlite;
    const MIGRATIONS: &str = "migrations/sqlite";

    mod suite;
}

/// The same suite on Postgres.
#[cfg(all(test, feature = "postgres"))]
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
mod on_postgres {
    /// The engine of the suite.
    type E = sqlx::Postgres;
    const MIGRATIONS: &str = "migrations/postgres";

    mod suite;
}
