//! What the benchmarks share: turns, and how they are compared.

use std::fs;
use std::path::Path;

/// Lets each contender take two turns a round, in one order and then in the other, so that a noisy machine is as noisy
/// for each. The first round warms up, and is left out.
pub(crate) async fn take_turns<T, const N: usize>(
    rounds: usize,
    mut turn: impl AsyncFnMut(usize) -> T,
) -> [Vec<T>; N] {
    let mut turns = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for contender in (0..N).chain((0..N).rev()) {
            let result = turn(contender).await;
            if round > 0 {
                turns[contender].push(result);
            }
        }
    }
    turns
}

/// The ratio of each round, of turns at about the same time.
pub(crate) fn ratios(turns: &[f64], rival: &[f64]) -> Vec<f64> {
    let sum = |round: &[f64]| round.iter().sum::<f64>();
    let rounds = turns.chunks(2).zip(rival.chunks(2));
    rounds.map(|(it, rival)| sum(it) / sum(rival)).collect()
}

pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// The nanoseconds of CPU time that a thread has used: the one of this directory below `/proc`.
pub(crate) fn cpu_time(thread: &Path) -> u64 {
    let used = fs::read_to_string(thread.join("schedstat")).expect("this is Linux");
    let used = used.split(' ').next().and_then(|used| used.parse().ok());
    used.expect("a number")
}
