//! Helpers for the tests of a service: a database for each test, the real binary, a client for it, and its metrics,
//! read as Prometheus reads them.
//!
//! They need the feature `testing`, which belongs in `[dev-dependencies]`. A helper fails a test by panicking.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::unwrap_used,
    reason = "a test may block, fails by panicking, and may only want the effect"
)]

use std::any::Any;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use crate::settings::{self, Section, Sources};
use crate::{Service, Settings};

mod client;
mod exposition;
#[cfg(feature = "postgres")]
mod postgres;
mod process;
#[cfg(feature = "_database")]
mod scratch;
#[cfg(feature = "_database")]
mod statements;

pub use client::{Answer, ask, ask_with, get};
pub use exposition::{Exposition, documented};
pub use process::{Binary, Running};
pub use rustix::process::Signal;
#[cfg(feature = "_database")]
pub use scratch::{Scratch, TestEngine, database_settings};
#[cfg(feature = "_database")]
pub use statements::check_statements;

/// Longer than any test takes: only a failure waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Removes the database of a test when it is dropped.
type Guard = Box<dyn Any + Send + Sync>;

/// Checks that the service reads every setting of its files, that each has a comment, and that the defaults are valid.
#[track_caller]
pub fn check_settings<S: Section + AsRef<Settings>>(service: &Service<S>) {
    let loaded = settings::load::<S>(service.defaults(), &Sources::default())
        .unwrap_or_else(|problems| panic!("the defaults are not valid:\n{problems}"));
    let read: BTreeSet<_> = loaded.entries.into_iter().map(|entry| entry.key).collect();
    let described = service.defaults().settings;
    let keys = described.iter().map(|setting| &setting.key);
    let unread: Vec<_> = keys.filter(|key| !read.contains(*key)).collect();
    assert!(unread.is_empty(), "described, but never read: {unread:?}");
    let mute = described.iter().filter(|it| it.comment.is_empty());
    let mute: Vec<_> = mute.map(|setting| &setting.key).collect();
    assert!(mute.is_empty(), "no comment above the default of {mute:?}");
}

/// Checks that a committed file has this content, or writes it if `UPDATE=1` is in the environment.
#[track_caller]
pub fn check_committed(path: impl AsRef<Path>, content: &str) {
    let path = path.as_ref();
    if env::var_os("UPDATE").is_some() {
        let written = fs::write(path, content);
        return written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    // Both are long: git shows the difference.
    assert!(
        committed == content,
        "{} is not what the code makes. Run the test with UPDATE=1, read what has changed, and commit it",
        path.display()
    );
}

#[cfg(test)]
mod tests;
