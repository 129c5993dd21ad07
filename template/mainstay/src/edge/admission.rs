//! What all requests share: permits to run, and memory for their bodies.
//!
//! - `http.max_in_flight` requests run at once, and `http.max_waiting` more wait up to `http.max_wait` for a permit. Any
//!   other request gets 503 at once, at little cost. So admitted requests stay fast under overload.
//! - A body is read into one buffer before its request takes a permit. `http.body_limit` limits the buffer, before and
//!   after decompression.
//! - All bodies that are being read share one budget. It is charged for the capacity of each buffer, so the size of the
//!   chunks does not matter. When the budget is used up, a body that needs more gets 503.

use std::mem;
use std::pin::pin;

use axum::RequestExt;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

use super::{Http, in_time};
use crate::problem::{Fault, Problem};

pub(super) struct Admission {
    pub(super) http: Http,
    permits: Semaphore,
    queue: Semaphore,
    /// In bytes, enough for `http.max_in_flight` bodies of the largest size.
    memory: Semaphore,
}

impl Admission {
    pub(super) fn new(http: &Http) -> Self {
        let memory = http.max_in_flight.saturating_mul(http.body_limit.0);
        Self {
            http: http.clone(),
            permits: Semaphore::new(http.max_in_flight),
            queue: Semaphore::new(http.max_waiting.min(Semaphore::MAX_PERMITS)),
            memory: Semaphore::new(memory.min(Semaphore::MAX_PERMITS)),
        }
    }

    pub(super) async fn acquire(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Problem> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let Ok(_place) = self.queue.try_acquire() else {
            return Err(Problem::OVERLOADED);
        };
        let end = deadline.min(Instant::now() + self.http.max_wait);
        let waited = timeout_at(end, self.permits.acquire()).await;
        // The semaphore is never closed, so an error is a timeout.
        waited.ok().and_then(Result::ok).ok_or(Problem::OVERLOADED)
    }

    pub(super) async fn read_body(
        &self,
        request: &mut Request,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, Problem> {
        let is_gzip = take_gzip(request.headers_mut(), cfg!(feature = "gzip"))?;
        let read = pin!(self.read(mem::take(request.body_mut())));
        let (mut bytes, _charge) = in_time(read).await.ok_or(Problem::TOO_SLOW)??;
        let permit = self.acquire(deadline).await?;
        if is_gzip {
            // Decompression is work, so it needs the permit.
            bytes = self.read(decompressed(bytes)).await?.0;
        }
        *request.body_mut() = Body::from(bytes);
        DefaultBodyLimit::disable().apply(request);
        Ok(permit)
    }

    async fn read(&self, body: Body) -> Result<(Vec<u8>, SemaphorePermit<'_>), Problem> {
        self.check_declared(&body)?;
        let limit = self.http.body_limit.0;
        let mut chunks = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut charge = self.reserve(0)?;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::BAD_REQUEST)?;
            let length = bytes.len().saturating_add(chunk.len());
            if length > limit {
                return Err(Problem::BODY_TOO_LARGE);
            }
            if length > bytes.capacity() {
                // The declared length is not reserved: a client could declare a large body, and send nothing.
                let capacity = length.max(2 * bytes.capacity()).min(limit);
                charge.merge(self.reserve(capacity - bytes.capacity())?);
                bytes.reserve_exact(capacity - bytes.len());
            }
            bytes.extend_from_slice(&chunk);
            // Let other tasks run: the chunks of a body in memory are always ready.
            consume_budget().await;
        }
        Ok((bytes, charge))
    }

    fn reserve(&self, size: usize) -> Result<SemaphorePermit<'_>, Problem> {
        let size = u32::try_from(size).map_err(|_| Problem::BODY_TOO_LARGE)?;
        let reserved = self.memory.try_acquire_many(size);
        reserved.map_err(|_| Problem::OVERLOADED)
    }

    pub(super) fn limit_stream(&self, request: &mut Request) -> Result<(), Problem> {
        take_gzip(request.headers_mut(), false)?;
        self.check_declared(request.body())?;
        DefaultBodyLimit::max(self.http.body_limit.0).apply(request);
        *request = mem::take(request).with_limited_body();
        Ok(())
    }

    fn check_declared(&self, body: &Body) -> Result<(), Problem> {
        let declared = usize::try_from(body.size_hint().lower());
        if declared.is_ok_and(|declared| declared <= self.http.body_limit.0) {
            Ok(())
        } else {
            Err(Problem::BODY_TOO_LARGE)
        }
    }
}

#[cfg(feature = "gzip")]
fn decompressed(bytes: Vec<u8>) -> Body {
    use async_compression::tokio::bufread::GzipDecoder;
    let mut decoder = GzipDecoder::new(std::io::Cursor::new(bytes));
    // The body may have several gzip members, as `cat a.gz b.gz` writes them.
    decoder.multiple_members(true);
    Body::from_stream(tokio_util::io::ReaderStream::new(decoder))
}

/// Not called: without the feature, [`take_gzip`] refuses compressed bodies.
#[cfg(not(feature = "gzip"))]
fn decompressed(bytes: Vec<u8>) -> Body {
    Body::from(bytes)
}

/// Whether the body is compressed. If it is, this removes the headers that describe the compressed form.
fn take_gzip(headers: &mut HeaderMap, is_supported: bool) -> Result<bool, Problem> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(false);
    };
    let encoding = String::from_utf8_lossy(encoding.as_bytes()).to_ascii_lowercase();
    match encoding.as_str() {
        "" | "identity" => Ok(false),
        "gzip" if is_supported => {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            Ok(true)
        }
        other => {
            let known = if is_supported { "gzip" } else { "identity" };
            let detail = format!("encoding {other:.40} is not supported, expected {known}");
            let fault = Fault::in_header(header::CONTENT_ENCODING.as_str(), detail);
            let problem = Problem::UNSUPPORTED_MEDIA_TYPE.with([fault]);
            Err(problem.with_header(header::ACCEPT_ENCODING, HeaderValue::from_static(known)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Bytes;
    use futures_util::stream;

    use super::*;
    use crate::tests::settings;

    #[tokio::test]
    async fn buffer_is_charged_for_its_capacity() {
        const LENGTH: usize = 1000;
        let set = ["http.max_in_flight=2", "http.body_limit=1000B"];
        let admission = Admission::new(&settings(&set).http);
        let byte = Ok::<_, Infallible>(Bytes::from_static(b"7"));
        let chunks = stream::iter(vec![byte; LENGTH]);
        let buffered = admission.read(Body::from_stream(chunks)).await;
        let (bytes, charge) = buffered.unwrap();
        assert_eq!(bytes, [b'7'; LENGTH]);
        assert_eq!(bytes.capacity(), LENGTH);
        assert_eq!(admission.memory.available_permits(), LENGTH);
        drop(charge);
        assert_eq!(admission.memory.available_permits(), 2 * LENGTH);
    }
}
