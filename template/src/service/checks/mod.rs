//! The checks of targets.

mod outgoing;
#[cfg(test)]
mod peer;
