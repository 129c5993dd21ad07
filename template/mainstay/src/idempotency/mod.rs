//! Idempotency keys: a client may repeat a request with the same `Idempotency-Key`. The service does the work
//! once, and replays the first response.
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
//! - The response is stored in the transaction of the work. A crash leaves both or neither.
//! - Only successful responses are stored. After an error, the work is rolled back, with a key or without: a retry
//!   does it again.
//! - The same key with another request gets 422. A key whose first request is still in progress gets 409.
//! - Each route has its own keys, and so has each [`Caller`], if requests have one.
//!
//! Only changes in the transaction are covered: no rollback takes back an e-mail that the work has sent.

mod key;
mod keys;

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sqlx::migrate::Migrator;

use crate::database::Transaction;
use crate::metrics::catalog;
use crate::metrics::text::Text;
use crate::problem::{Fault, Problem};
use key::{HEADER, Keyed};

pub use key::{Caller, KeyHeader};
pub use keys::{Keys, Settings, Store};

/// The migrations for the table of stored responses. Pass them to [`Database::new`](crate::database::Database::new).
#[must_use]
pub fn migrations<E: Store>() -> &'static Migrator {
    E::migrations()
}

/// The settings of `[idempotency]` with their defaults, for [`Service::settings`](crate::Service::settings).
pub const SETTINGS: &str = include_str!("../../config/idempotency.toml");

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Whether this response is a replayed one.
#[must_use]
pub fn is_replayed(response: &Response) -> bool {
    response.headers().contains_key(REPLAYED)
}

/// An extractor of a request of type `T` with its key. [`run`](Self::run) does the work once per key. Requests
/// without a key are not deduplicated, or are [refused](Self::require_key).
#[derive(Debug)]
pub struct Once<T> {
    key: Option<Keyed>,
    input: T,
}

impl<T: FromRequest<S>, S: Send + Sync> FromRequest<S> for Once<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let extracted = Keyed::extract(request).await;
        let (key, request) = extracted.map_err(IntoResponse::into_response)?;
        let input = T::from_request(request, state).await;
        let input = input.map_err(IntoResponse::into_response)?;
        Ok(Self { key, input })
    }
}

impl<T> Once<T> {
    /// Refuses a request without a key: `once.require_key()?.run(&keys, work)`.
    pub fn require_key(self) -> Result<Self, Problem> {
        if self.key.is_none() {
            let fault = Fault::in_header(HEADER, "is missing");
            return Err(Problem::KEY_MISSING.with([fault]));
        }
        Ok(self)
    }

    /// Does the work and stores its response in one transaction, or returns the stored response with the header
    /// `Idempotent-Replayed`. Fails if the work fails, or if the key is in use or belongs to another request.
    #[track_caller]
    pub fn run<R, W, E>(
        self,
        keys: &Keys<E>,
        work: W,
    ) -> impl Future<Output = Result<Response, Problem>> + use<'_, T, R, W, E>
    where
        R: IntoResponse,
        E: Store,
        W: AsyncFnOnce(&mut Transaction<E>, T) -> Result<R, Problem>,
    {
        let begin = keys.database.begin();
        async move {
            let mut transaction = begin.await?;
            let attempt = async {
                if let Some(key) = &self.key {
                    if let Some(replayed) = claim_or_replay(&mut transaction, key).await? {
                        return Ok((false, replayed));
                    }
                    keys.ensure_room()?;
                }
                let result = work(&mut transaction, self.input).await;
                let mut response = result.into_response();
                let is_success = response.status() < StatusCode::BAD_REQUEST;
                if let Some(key) = self.key.filter(|_| is_success) {
                    response = keys.store(&mut transaction, &key, response).await?;
                    FIRST.fetch_add(1, Ordering::Relaxed);
                }
                Ok((is_success, response))
            };
            let attempt: Result<_, Problem> = attempt.await;
            if let Ok((true, response)) = attempt {
                transaction.commit().await?;
                return Ok(response);
            }
            // Roll back before the response is sent: a retry must not find the key in use.
            transaction.rollback().await;
            attempt.map(|(_, response)| response)
        }
    }
}

/// Returns the stored response for this key, if there is one. The key is locked until the transaction ends.
async fn claim_or_replay<E: Store>(
    transaction: &mut Transaction<E>,
    key: &Keyed,
) -> Result<Option<Response>, Problem> {
    if !E::claim(transaction, key).await? {
        CONFLICTS.fetch_add(1, Ordering::Relaxed);
        let seconds = HeaderValue::from_static("1");
        return Err(Problem::KEY_IN_USE.with_header(header::RETRY_AFTER, seconds));
    }
    // After the claim, in a separate statement, which sees what other transactions have committed.
    let Some(answer) = E::find(transaction, key).await? else {
        return Ok(None);
    };
    if answer.request != key.request {
        REUSES.fetch_add(1, Ordering::Relaxed);
        let fault = Fault::in_header(HEADER, "was sent with another request before");
        return Err(Problem::KEY_REUSED.with([fault]));
    }
    let Some(response) = answer.into_response() else {
        tracing::error!(route = key.route, "a stored response is malformed");
        return Err(Problem::INTERNAL);
    };
    REPLAYS.fetch_add(1, Ordering::Relaxed);
    Ok(Some(response))
}

// The numbers of requests with a key, by outcome, and of stored responses at the last count.
static FIRST: AtomicU64 = AtomicU64::new(0);
static REPLAYS: AtomicU64 = AtomicU64::new(0);
static CONFLICTS: AtomicU64 = AtomicU64::new(0);
static REUSES: AtomicU64 = AtomicU64::new(0);
static ANSWERS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn write_metrics(text: &mut Text) {
    let outcomes = [
        ("first", &FIRST),
        ("replayed", &REPLAYS),
        ("in_use", &CONFLICTS),
        ("reused", &REUSES),
    ];
    let value = |count: &AtomicU64| count.load(Ordering::Relaxed);
    text.each(&catalog::IDEMPOTENCY_REQUESTS, outcomes, value);
    text.value(&catalog::IDEMPOTENCY_ANSWERS, value(&ANSWERS));
}

#[cfg(test)]
mod tests;
