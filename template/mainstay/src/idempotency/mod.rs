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
mod key;
mod keys;
mod numbers;
mod store;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::database::Transaction;
use crate::header_names::IDEMPOTENCY_KEY;
use crate::problem::{Fault, Problem};
use answer::Answer;
use key::Keyed;
use numbers::Outcome;

pub use key::{Caller, KeyHeader};
pub use keys::{Keys, Settings};
pub(crate) use numbers::write_metrics;
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
/// each time, or refused by [`OnceRequired`].
#[derive(Debug)]
pub struct Once<T, const KEY_REQUIRED: bool = false> {
    key: Option<Keyed>,
    input: T,
}

/// [`Once`] that refuses requests without a key.
pub type OnceRequired<T> = Once<T, true>;

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

/// The errors that a key may cause.
pub(crate) const PROBLEMS: &[Problem] = &[key::MALFORMED, IN_USE, REUSED];

impl<T, const KEY_REQUIRED: bool> Once<T, KEY_REQUIRED> {
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
    ) -> impl Future<Output = Result<Response, Problem>> + use<'_, T, R, W, E, KEY_REQUIRED>
    where
        R: IntoResponse,
        E: Store,
        W: AsyncFnOnce(&mut Transaction<E>, T) -> Result<R, Problem>,
    {
        // The log names the caller as the holder of the connection.
        let begin = keys.database().begin();
        async move {
            let mut transaction = begin.await?;
            let Self { key, input } = self;
            let Some(key) = key else {
                let response = work(&mut transaction, input).await.into_response();
                if answer::is_success(response.status()) {
                    transaction.commit().await?;
                }
                return Ok(response);
            };
            let attempt = attempt(keys, &key, &mut transaction, work, input).await;
            if let Ok(Attempt::New(response)) = attempt {
                transaction.commit().await?;
                Outcome::First.count();
                return Ok(response);
            }
            // Before the answer: a retry must not find the key in use.
            transaction.rollback().await;
            attempt.map(|(Attempt::New(response) | Attempt::Unchanged(response))| response)
        }
    }
}

/// The response to a request with a key.
enum Attempt {
    /// The work is done and the answer stored: to be committed.
    New(Response),
    /// There is nothing to commit.
    Unchanged(Response),
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
    if let Some((request, answer)) = keys.find(transaction, key).await? {
        if request != key.request {
            Outcome::Reused.count();
            let fault = "was sent with another request before";
            return Err(REUSED.with([Fault::in_header(KEY.as_str(), fault)]));
        }
        Outcome::Replayed.count();
        return Ok(Attempt::Unchanged(answer.into_response()));
    }
    keys.ensure_room()?;
    transaction.set_savepoint().await?;
    let response = work(transaction, input).await.into_response();
    let status = response.status();
    if !answer::is_final(status) {
        return Ok(Attempt::Unchanged(response));
    }
    if !answer::is_success(status) && transaction.rollback_to_savepoint().await.is_err() {
        // The whole transaction is rolled back, and a retry starts again.
        return Ok(Attempt::Unchanged(response));
    }
    let (answer, response) = Answer::from_response(response, keys.answer_limit()).await?;
    if !keys.store(transaction, key, &answer).await? {
        return Err(in_use());
    }
    Ok(Attempt::New(response))
}

fn in_use() -> Problem {
    const SECONDS: HeaderValue = HeaderValue::from_static("1");
    Outcome::InUse.count();
    IN_USE.with_header(header::RETRY_AFTER, SECONDS)
}

/// Whether this answer is a stored one.
#[must_use]
pub fn is_replayed(response: &Response) -> bool {
    response.headers().contains_key(REPLAYED)
}

impl<T, S, const KEY_REQUIRED: bool> FromRequest<S> for Once<T, KEY_REQUIRED>
where
    T: FromRequest<S>,
    S: Send + Sync,
{
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let with_key = with_key(request, KEY_REQUIRED).await;
        let (key, request) = with_key.map_err(IntoResponse::into_response)?;
        let input = T::from_request(request, state).await;
        let input = input.map_err(IntoResponse::into_response)?;
        Ok(Self { key, input })
    }
}

/// The key of a request, and the request. Reads the body, which has its limit already.
async fn with_key(
    request: Request,
    is_required: bool,
) -> Result<(Option<Keyed>, Request), Problem> {
    let Some(key) = key::parse(request.headers())? else {
        if is_required {
            return Err(MISSING.with([Fault::in_header(KEY.as_str(), "is missing")]));
        }
        return Ok((None, request));
    };
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.map_err(|_| Problem::BAD_REQUEST)?;
    let key = Keyed::new(key, &parts, &body);
    Ok((Some(key), Request::from_parts(parts, Body::from(body))))
}

/// The tests, on SQLite.
#[cfg(all(test, feature = "sqlite"))]
#[path = "tests"]
mod on_sqlite {
    /// The engine of the suite.
    type E = sqlx::Sqlite;

    mod suite;
}

/// The same suite on Postgres.
#[cfg(all(test, feature = "postgres"))]
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "the engine differs")]
mod on_postgres {
    /// The engine of the suite.
    type E = sqlx::Postgres;

    mod suite;
}
