//! The concurrency permit of a request, which it gives back while its body stalls.
//!
//! A permit is for work. When a handler needs a piece of the body that has not arrived, the request gives its permit
//! back, and queues for a permit like a new request before the handler gets the piece. So slow clients do not keep
//! other requests from being served, however many they are.
//!
//! What they have sent by then takes memory, and more of it if it was compressed. All requests without a permit
//! together may hold as much as all requests with a permit may; beyond that, a request keeps its permit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::sync::SemaphorePermit;

use super::admission::Admission;
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
        if self.is_outside() || !self.admission.may_step_out(brought) {
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
    pub(super) async fn step_in(&self) -> Result<(), Problem> {
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

    pub(super) fn is_outside(&self) -> bool {
        self.is(Whereabouts::Outside)
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
