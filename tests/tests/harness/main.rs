//! The harness itself: what the other tests stand on must hold, fail with a good reason, and leave
//! nothing behind.

mod proxy;
mod service;
