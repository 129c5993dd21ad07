//! The budget for everything that is sent besides first attempts. It grows with those, so that retries
//! stay a share of what is sent: when all of the world is down, there is not twice as much to do.

use std::sync::{Mutex, PoisonError};

/// A bucket of tokens, for all checks together.
#[derive(Debug)]
pub(super) struct Budget {
    /// In hundredths, so that a share is a whole number.
    tokens: Mutex<u32>,
    percent: u32,
}

const TOKEN: u32 = 100;

/// The most that can be saved: a short trouble is met with all of it.
const FULL: u32 = 10 * TOKEN;

impl Budget {
    /// One that is full, and gets this share of a token with each first attempt.
    pub(super) fn new(percent: u32) -> Self {
        Self {
            tokens: Mutex::new(FULL),
            percent,
        }
    }

    /// A first attempt is made, which is always allowed.
    pub(super) fn earn(&self) {
        self.change(|tokens| Some(tokens.saturating_add(self.percent).min(FULL)));
    }

    /// Whether there may be a further attempt.
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
    fn further_attempts_are_a_share_of_the_first_ones() {
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
    fn what_is_saved_has_a_limit() {
        let budget = Budget::new(100);
        for _ in 0..1000 {
            budget.earn();
        }
        let saved = std::iter::from_fn(|| budget.spend().then_some(())).count();
        assert_eq!(saved, 10);
    }

    #[test]
    fn without_a_share_what_was_saved_is_all_there_is() {
        let budget = Budget::new(0);
        let further = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(further.count(), 10);
    }
}
