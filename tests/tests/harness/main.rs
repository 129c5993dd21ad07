//! The harness itself: its helpers work, fail with a clear message, and leave nothing behind.

mod proxy;
mod service;
