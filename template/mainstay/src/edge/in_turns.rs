//! The body of a request that gives its concurrency permit back while it stalls.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use futures_util::future::BoxFuture;
use http_body::{Frame, SizeHint};

use super::account::{Account, Progress};
use crate::problem::Problem;

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
            if !self.account.turn.is_outside() {
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
