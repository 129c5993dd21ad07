//! The body of a request, read into one buffer before its handler runs.
//!
//! `http.body_limit` limits the buffer, before and after decompression. All bodies that are being read share one
//! budget. It is charged for the capacity of each buffer, so the size of the chunks does not matter. When the budget is
//! used up, a body that needs more gets 503.

#[cfg(feature = "gzip")]
use std::io::Cursor;
use std::mem;

#[cfg(feature = "gzip")]
use async_compression::tokio::bufread::GzipDecoder;
use axum::RequestExt;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, header};
use futures_util::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::coop::consume_budget;
#[cfg(feature = "gzip")]
use tokio_util::io::ReaderStream;

use crate::problem::{Fault, Problem};

/// A budget in bytes, enough for `in_flight` bodies of the largest size.
pub(super) fn budget(in_flight: usize, limit: usize) -> Semaphore {
    Semaphore::new(in_flight.saturating_mul(limit).min(Semaphore::MAX_PERMITS))
}

/// Reads a body to its end, into memory that is charged to the budget.
pub(super) async fn read(
    body: Body,
    limit: usize,
    budget: &Semaphore,
) -> Result<(Vec<u8>, SemaphorePermit<'_>), Problem> {
    check_declared(&body, limit)?;
    let mut chunks = body.into_data_stream();
    let mut bytes = Vec::new();
    let mut charge = reserve(budget, 0)?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Problem::BAD_REQUEST)?;
        let length = bytes.len().saturating_add(chunk.len());
        if length > limit {
            return Err(Problem::BODY_TOO_LARGE);
        }
        if length > bytes.capacity() {
            // The declared length is not reserved: a client could declare a large body, and send nothing.
            let capacity = length.max(2 * bytes.capacity()).min(limit);
            charge.merge(reserve(budget, capacity - bytes.capacity())?);
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
        // Let other tasks run: the chunks of a body in memory are always ready.
        consume_budget().await;
    }
    Ok((bytes, charge))
}

fn reserve(budget: &Semaphore, size: usize) -> Result<SemaphorePermit<'_>, Problem> {
    let size = u32::try_from(size).map_err(|_| Problem::BODY_TOO_LARGE)?;
    budget
        .try_acquire_many(size)
        .map_err(|_| Problem::OVERLOADED)
}

#[cfg(feature = "gzip")]
pub(super) fn decompressed(bytes: Vec<u8>) -> Body {
    let mut decoder = GzipDecoder::new(Cursor::new(bytes));
    // The body may have several gzip members, as `cat a.gz b.gz` writes them.
    decoder.multiple_members(true);
    Body::from_stream(ReaderStream::new(decoder))
}

/// Without the feature, [`take_gzip`] refuses compressed bodies.
#[cfg(not(feature = "gzip"))]
pub(super) fn decompressed(bytes: Vec<u8>) -> Body {
    Body::from(bytes)
}

/// Limits a body that its handler reads as a stream.
pub(super) fn limit_stream(request: &mut Request, limit: usize) -> Result<(), Problem> {
    take_gzip(request.headers_mut(), false)?;
    check_declared(request.body(), limit)?;
    DefaultBodyLimit::max(limit).apply(request);
    *request = mem::take(request).with_limited_body();
    Ok(())
}

fn check_declared(body: &Body, limit: usize) -> Result<(), Problem> {
    let declared = usize::try_from(body.size_hint().lower());
    if declared.is_ok_and(|declared| declared <= limit) {
        Ok(())
    } else {
        Err(Problem::BODY_TOO_LARGE)
    }
}

/// Whether the body is compressed. If it is, this removes the headers that describe the compressed form.
pub(super) fn take_gzip(headers: &mut HeaderMap, is_supported: bool) -> Result<bool, Problem> {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase());
    let encoding = lines.collect::<Vec<_>>().join(", ");
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

    #[tokio::test]
    async fn buffer_is_charged_for_its_capacity() {
        const LENGTH: usize = 1000;
        let budget = budget(2, LENGTH);
        let byte = Ok::<_, Infallible>(Bytes::from_static(b"7"));
        let chunks = stream::iter(vec![byte; LENGTH]);
        let buffered = read(Body::from_stream(chunks), LENGTH, &budget).await;
        let (bytes, charge) = buffered.unwrap();
        assert_eq!(bytes, [b'7'; LENGTH]);
        assert_eq!(bytes.capacity(), LENGTH);
        assert_eq!(budget.available_permits(), LENGTH);
        drop(charge);
        assert_eq!(budget.available_permits(), 2 * LENGTH);
    }
}
