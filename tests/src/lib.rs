//! The harness: generates every variant of the template, builds it, runs it, breaks it and measures it.

pub mod crowd;
mod eventually;
pub mod fleet;
pub mod http;
pub mod load;
pub mod lock;
pub mod log;
pub mod measure;
mod overlay;
pub mod postgres;
pub mod proxy;
pub mod repository;
pub mod service;
pub mod tutorial;
pub mod variant;

pub use eventually::eventually;
pub use generator::generate;
