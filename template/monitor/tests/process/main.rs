//! The service as it is used: the real binary, real signals, real connections.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a test may block: the thread is its own"
)]

#[path = "../support/exposition.rs"]
mod exposition;
mod life;
mod metrics;
mod openapi;
mod routes;
mod running;
#[path = "../support/scratch.rs"]
mod scratch;
