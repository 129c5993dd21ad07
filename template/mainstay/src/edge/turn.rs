//! The place of a request whose client is waited for: it has none.
//!
//! A place is for work. When a piece of a body is asked for that is not there, the request gives its
//! place back, and takes one again, as whoever comes new, before its handler has the piece. So clients
//! that send slowly, however many, keep nobody else from being served.
//!
//! What they have sent by then is memory, and more of it where it was compressed. Together, requests
//! without a place have brought no more than all that have one may bring; beyond that, they keep
//! theirs.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio::sync::SemaphorePermit;

use super::admission::Admission;
use super::body::{Account, Progress};
use crate::problem::Problem;

/// Where a request is. It has a place in the first case alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Whereabouts {
    Inside,
    Outside,
    /// It is answered: what is still read of its body is no work of ours.
    Gone,
}

/// The place of one request, which it gives back and takes again.
pub(super) struct Turn {
    admission: Arc<Admission>,
    whereabouts: AtomicU8,
    /// What it had brought when it went outside, in bytes.
    brought: AtomicUsize,
}

impl Turn {
    /// Of a request that has this place.
    pub(super) fn with(place: SemaphorePermit<'_>, admission: &Arc<Admission>) -> Self {
        place.forget();
        Self {
            admission: Arc::clone(admission),
            whereabouts: AtomicU8::new(Whereabouts::Inside as u8),
            brought: AtomicUsize::new(0),
        }
    }

    /// Its client is waited for, and has brought so much by now.
    pub(super) fn step_out(&self, brought: usize) {
        if self.is(Whereabouts::Outside) || !self.admission.may_step_out(brought) {
            return;
        }
        self.brought.store(brought, Ordering::Relaxed);
        if self.go(Whereabouts::Inside, Whereabouts::Outside) {
            self.admission.give_back();
        } else {
            self.admission.came_back(brought);
        }
    }

    /// Takes a place again, or is told that there is none.
    async fn step_in(&self) -> Result<(), Problem> {
        self.admission.enter().await?.forget();
        if self.go(Whereabouts::Outside, Whereabouts::Inside) {
            self.admission
                .came_back(self.brought.load(Ordering::Relaxed));
        } else {
            self.admission.give_back();
        }
        Ok(())
    }

    /// It needs no place any more.
    pub(super) fn end(&self) {
        let gone = Whereabouts::Gone as u8;
        let last = self.whereabouts.swap(gone, Ordering::AcqRel);
        if last == Whereabouts::Inside as u8 {
            self.admission.give_back();
        } else if last == Whereabouts::Outside as u8 {
            self.admission
                .came_back(self.brought.load(Ordering::Relaxed));
        }
    }

    fn is(&self, whereabouts: Whereabouts) -> bool {
        self.whereabouts.load(Ordering::Acquire) == whereabouts as u8
    }

    fn go(&self, from: Whereabouts, to: Whereabouts) -> bool {
        let change = (Ordering::AcqRel, Ordering::Acquire);
        let gone = self
            .whereabouts
            .compare_exchange(from as u8, to as u8, change.0, change.1);
        gone.is_ok()
    }
}

type Piece = Option<Result<Frame<Bytes>, axum::Error>>;

/// A body as it comes in, whose request has a place for as long as there is something of it.
pub(super) struct InTurns {
    body: Body,
    account: Arc<Account>,
    /// What has come, while there is no place yet to work on it.
    waits: Option<(BoxFuture<'static, Result<(), Problem>>, Piece)>,
}

impl InTurns {
    pub(super) fn new(body: Body, account: &Arc<Account>) -> Self {
        Self {
            body,
            account: Arc::clone(account),
            waits: None,
        }
    }

    /// The next piece, once it is here.
    fn receive(&mut self, context: &mut Context<'_>) -> Poll<Piece> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(piece) = polled else {
            self.account.note(Progress::Awaited);
            return Poll::Pending;
        };
        self.account.note(match &piece {
            Some(Err(_)) => Progress::Broken,
            Some(Ok(_)) | None => Progress::Flows,
        });
        Poll::Ready(piece)
    }
}

impl HttpBody for InTurns {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Piece> {
        if self.waits.is_none() {
            let piece = ready!(self.receive(context));
            if !self.account.turn.is(Whereabouts::Outside) {
                return Poll::Ready(piece);
            }
            let account = Arc::clone(&self.account);
            let step_in = Box::pin(async move { account.turn.step_in().await });
            self.waits = Some((step_in, piece));
        }
        let Some((step_in, piece)) = &mut self.waits else {
            return Poll::Ready(None);
        };
        let is_in = ready!(step_in.as_mut().poll(context));
        let piece = mem::take(piece);
        self.waits = None;
        if let Err(problem) = is_in {
            self.account.note(Progress::Crowded);
            return Poll::Ready(Some(Err(axum::Error::new(problem.title))));
        }
        Poll::Ready(piece)
    }

    fn is_end_stream(&self) -> bool {
        self.waits.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
