//! The progress of a body, shared by the code that reads it and the code that waits for it.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::turn::Turn;

/// What has become of a body, so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Progress {
    /// It is read, or not asked for.
    Flows,
    /// The rest has been asked for, and is not there.
    Awaited,
    TooLarge,
    /// It is not what its head says: cut off, or not compressed as it says.
    Broken,
    /// More of it came, and there was no place to work on it.
    Crowded,
}

/// What those who read a body and those who watch them share.
pub(super) struct Account {
    progress: AtomicU8,
    /// How much of it has been handed on, in bytes: before or after it was decompressed, whichever is
    /// more.
    pub(super) brought: AtomicUsize,
    pub(super) turn: Turn,
}

impl Account {
    pub(super) fn new(turn: Turn) -> Self {
        Self {
            progress: AtomicU8::new(Progress::Flows as u8),
            brought: AtomicUsize::new(0),
            turn,
        }
    }

    pub(super) fn is(&self, progress: Progress) -> bool {
        self.progress.load(Ordering::Relaxed) == progress as u8
    }

    /// What has failed has failed for good.
    pub(super) fn note(&self, progress: Progress) {
        if !self.is_over() {
            self.progress.store(progress as u8, Ordering::Relaxed);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.progress.load(Ordering::Relaxed) >= Progress::TooLarge as u8
    }
}
