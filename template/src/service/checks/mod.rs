//! The checks of targets.

mod budget;
mod hosts;
mod numbers;
mod outgoing;
#[cfg(test)]
mod peer;
mod probe;
