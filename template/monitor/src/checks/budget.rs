//! The budget for retries and second attempts. It grows with first attempts, so that further attempts stay a
//! share of all requests: when every host is down, the load does not double.

use std::sync::{Mutex, PoisonError};

/// A token bucket that all checks share.
#[derive(Debug)]
pub(super) struct Budget {
    /// In hundredths of a token, so that a share is a whole number.
    tokens: Mutex<u32>,
    percent: u32,
}

const TOKEN: u32 = 100;

/// The most tokens that are saved, for a short failure.
const FULL: u32 = 10 * TOKEN;

impl Budget {
    /// A full bucket that earns this share of a token with each first attempt.
    pub(super) fn new(percent: u32) -> Self {
        Self {
            tokens: Mutex::new(FULL),
            percent,
        }
    }

    /// Earns the share of a first attempt, which is always allowed.
    pub(super) fn earn(&self) {
        self.change(|tokens| Some(tokens.saturating_add(self.percent).min(FULL)));
    }

    /// Takes a token for a further attempt, if there is one.
    pub(super) fn spend(&self) -> bool {
        self.change(|tokens| tokens.checked_sub(TOKEN))
    }

    fn change(&self, change: impl FnOnce(u32) -> Option<u32>) -> bool {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(*tokens);
        *tokens = changed.unwrap_or(*tokens);
        changed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_attempts_are_a_share_of_first_attempts() {
        let budget = Budget::new(20);
        let saved = std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(saved, 10, "what was saved is spent");

        let mut further = 0;
        for _ in 0..1000 {
            budget.earn();
            further += u32::from(budget.spend());
        }

        assert_eq!(further, 200);
    }

    #[test]
    fn saved_tokens_are_limited() {
        let budget = Budget::new(100);
        for _ in 0..1000 {
            budget.earn();
        }
        let saved = std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(saved, 10);
    }

    #[test]
    fn zero_share_leaves_only_the_initial_tokens() {
        let budget = Budget::new(0);
        let further = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(further.count(), 10);
    }
}
