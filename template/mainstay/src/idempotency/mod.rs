//! A request that changes something, sent again by whoever has not heard the answer: with the same
//! `Idempotency-Key`, it is worked on once, and answered each time as it was the first.
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
//! - The answer is kept in the transaction that has the effect. Whatever ends the process, and
//!   whenever, either both are there or neither is: nothing is done twice, and no key gets stuck.
//! - Kept is what is final: what was done, and what was refused (4xx, unless it asks for another try).
//!   What is refused has no effect, with a key or without: the work is undone. After a failure of ours
//!   (5xx) nothing is kept, nor has anything happened.
//! - The same key with another request is refused (422), and so is one that is being worked on (409).
//! - A key is one on its route. Where requests have a [`Caller`], it is also the caller's own.
//!
//! All of this is about what the work does in its transaction. A letter that it sends is sent.

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
use crate::header_names::{IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED};
use crate::problem::{Fault, Problem};
use answer::Answer;
use key::Keyed;
use numbers::Outcome;

pub use described::{KeyHeader, PROBLEMS};
pub use key::Caller;
pub use keys::Keys;
pub(crate) use numbers::write_metrics;
pub use settings::Settings;
pub use store::Store;

/// The migrations that make the table of answers, for [`Database::new`](crate::database::Database::new).
#[must_use]
pub fn migrations<E: Store>() -> &'static sqlx::migrate::Migrator {
    E::migrations()
}

/// The reference of `[idempotency]`, for [`Service::settings`](crate::Service::settings).
pub const SETTINGS: &str = include_str!("../../config/idempotency.toml");

/// The header of a request that may be sent again.
pub const KEY: HeaderName = IDEMPOTENCY_KEY;

/// The header of an answer that was given before.
pub const REPLAYED: HeaderName = IDEMPOTENT_REPLAYED;

/// What a request asks for, `T`, which is done once for a key. A request without one is worked on
/// whenever it comes, or is refused if the key is [`Demanded`].
#[derive(Debug)]
pub struct Once<T, K = IfGiven> {
    key: Option<Keyed>,
    input: T,
    demand: PhantomData<K>,
}

/// A route that takes requests without a key as well.
#[derive(Debug)]
pub struct IfGiven;

/// A route on which each request must have a key.
#[derive(Debug)]
pub struct Demanded;

/// Whether there must be a key.
pub trait Demand {
    const DEMANDED: bool;
}

impl Demand for IfGiven {
    const DEMANDED: bool = false;
}

impl Demand for Demanded {
    const DEMANDED: bool = true;
}

const MISSING: Problem = Problem::new(
    StatusCode::BAD_REQUEST,
    "idempotency_key_missing",
    "A request like this must have an idempotency key",
);
const IN_USE: Problem = Problem::new(
    StatusCode::CONFLICT,
    "idempotency_key_in_use",
    "A request with this idempotency key is being worked on; try again",
);
const REUSED: Problem = Problem::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "idempotency_key_reused",
    "This idempotency key belongs to another request",
);

impl<T, K> Once<T, K> {
    /// Does the work in a transaction that has its effect and its answer together, unless it was done
    /// before: then that answer is given again, and says so by [`REPLAYED`].
    ///
    /// # Errors
    ///
    /// What the work has failed of; when the key belongs to another request, or is being worked on;
    /// and when the database does not answer.
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
        // Whoever holds the connection is the caller, not this.
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
    transaction.roll_back().await;
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
    IN_USE.and_header(header::RETRY_AFTER, SOON)
}

fn about_key(words: &'static str) -> Fault {
    Fault::in_header(KEY.as_str(), words)
}

/// Whether this answer was given before.
#[must_use]
pub fn is_replayed(response: &Response) -> bool {
    response.headers().contains_key(REPLAYED)
}

impl<T, S, K> FromRequest<S> for Once<T, K>
where
    T: FromRequest<S>,
    S: Send + Sync,
    K: Demand,
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
            None if K::DEMANDED => {
                let missing = MISSING.with([about_key("is missing")]);
                return Err(missing.into_response());
            }
            None => (None, request),
        };
        let input = T::from_request(request, state).await;
        Ok(Self {
            key,
            input: input.map_err(IntoResponse::into_response)?,
            demand: PhantomData,
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
