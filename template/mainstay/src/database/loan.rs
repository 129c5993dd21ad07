//! Who has a connection, and who waits for one.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

/// Where the code is that holds a connection.
pub(super) type Place = &'static Location<'static>;

/// Who has a connection, and since when.
#[derive(Debug, Clone)]
pub(super) struct Loan<I> {
    pub(super) place: Place,
    pub(super) since: Instant,
    /// That it lasts for long has been told.
    pub(super) warned: bool,
    /// Ends what is running on it, once there is a connection.
    pub(super) interrupt: Option<I>,
}

impl<I> Loan<I> {
    pub(super) fn to(place: Place) -> Self {
        Self {
            place,
            since: Instant::now(),
            warned: false,
            interrupt: None,
        }
    }
}

impl<I> fmt::Display for Loan<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a database connection ({})", self.place)
    }
}

/// Counts whoever waits, also if the wait is given up.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn among(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
