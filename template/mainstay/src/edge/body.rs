//! The body of a request, limited to `http.body_limit` before and after decompression. It reports whether the client
//! is late, and gives the [permit](Turn) of the request back while it stalls.

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

#[cfg(feature = "gzip")]
use async_compression::tokio::bufread::GzipDecoder;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, header};
#[cfg(feature = "gzip")]
use futures_util::TryStreamExt;
use http_body::{Frame, SizeHint};
#[cfg(feature = "gzip")]
use tokio_util::io::{ReaderStream, StreamReader};

use super::account::{Account, Progress};
use super::in_turns::InTurns;
use super::turn::Turn;
use crate::problem::Problem;

/// Tells what has become of a body, while somebody else reads it. Until it is dropped, the request has
/// its turn.
pub(super) struct Receipt(Arc<Account>);

impl Receipt {
    /// What the request failed of, if it was of its body.
    pub(super) fn failure(&self) -> Option<Problem> {
        let failures = [
            (Progress::TooLarge, Problem::BODY_TOO_LARGE),
            (Progress::Broken, Problem::BAD_REQUEST),
            (Progress::Crowded, Problem::OVERLOADED),
        ];
        let mut failures = failures.into_iter();
        failures.find_map(|(progress, problem)| self.0.is(progress).then_some(problem))
    }

    /// Whether it is the client who is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.0.is(Progress::Awaited)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.0.turn.end();
    }
}

/// Makes the body keep to the limit.
pub(super) fn bound(request: &mut Request, limit: usize, turn: Turn) -> Result<Receipt, Problem> {
    let account = Arc::new(Account::new(turn));
    let receipt = Receipt(Arc::clone(&account));
    let too_large = |least: u64| usize::try_from(least).is_ok_and(|least| least > limit);
    if too_large(request.body().size_hint().lower()) {
        return Err(Problem::BODY_TOO_LARGE);
    }
    let body = InTurns::new(mem::take(request.body_mut()), &account);
    #[cfg_attr(
        not(feature = "gzip"),
        expect(unused_mut, reason = "it is decompressed otherwise")
    )]
    let mut body = Bounded::new(body, limit, &account);
    let headers = request.headers_mut();
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let encoding = encodings
        .next()
        .map(|encoding| encoding.as_bytes().to_ascii_lowercase());
    let is_one = encodings.next().is_none();
    let body = match encoding.as_deref() {
        None => Body::new(body),
        Some(b"identity") if is_one => Body::new(body),
        #[cfg(feature = "gzip")]
        Some(b"gzip" | b"x-gzip") if is_one => {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            body.is_read = false;
            // A few bytes can become very many: what comes out has the limit as well.
            let body = decompressed(Body::new(body));
            Body::new(Bounded::new(body, limit, &account))
        }
        Some(_) => {
            let known = if cfg!(feature = "gzip") {
                "gzip"
            } else {
                "identity"
            };
            let known = HeaderValue::from_static(known);
            let refused = Problem::UNSUPPORTED_MEDIA_TYPE;
            return Err(refused.with_header(header::ACCEPT_ENCODING, known));
        }
    };
    *request.body_mut() = body;
    // Extractors have a limit of their own, unless they are told that there is one.
    DefaultBodyLimit::disable().apply(request);
    Ok(receipt)
}

#[cfg(feature = "gzip")]
fn decompressed(body: Body) -> Body {
    let compressed = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
    let mut decoder = GzipDecoder::new(compressed);
    // One after the other, as `cat a.gz b.gz` makes them.
    decoder.multiple_members(true);
    Body::from_stream(ReaderStream::new(decoder))
}

/// A body that ends in an error beyond its limit.
struct Bounded<B> {
    body: B,
    limit: usize,
    passed: usize,
    /// By the handler, and not by what decompresses it first.
    is_read: bool,
    account: Arc<Account>,
}

impl<B> Bounded<B> {
    fn new(body: B, limit: usize, account: &Arc<Account>) -> Self {
        Self {
            body,
            limit,
            passed: 0,
            is_read: true,
            account: Arc::clone(account),
        }
    }
}

impl<B> HttpBody for Bounded<B>
where
    B: HttpBody<Data = Bytes, Error = axum::Error> + Unpin,
{
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.account.is_over() {
            // Also for whoever passes over an error, and asks for more.
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() && self.is_read {
            // All there was has been handed on, and is counted.
            let brought = self.account.brought.load(Ordering::Relaxed);
            self.account.turn.step_out(brought);
        }
        let frame = ready!(polled);
        match &frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.passed = self.passed.saturating_add(length);
                if self.passed > self.limit {
                    self.account.note(Progress::TooLarge);
                    let words = io::Error::other("the body is larger than http.body_limit");
                    return Poll::Ready(Some(Err(axum::Error::new(words))));
                }
                self.account
                    .brought
                    .fetch_max(self.passed, Ordering::Relaxed);
            }
            Some(Err(_)) => self.account.note(Progress::Broken),
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
