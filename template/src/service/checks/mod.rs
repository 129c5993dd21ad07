//! The checks of targets.

mod budget;
mod checkers;
mod due;
mod hosts;
mod numbers;
mod outgoing;
#[cfg(test)]
mod peer;
mod probe;
mod queue;
mod recorder;
