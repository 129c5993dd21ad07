//! The operator's token, and a limit on guesses.
//!
//! After a wrong token, the next one is checked after a pause, which doubles with each wrong one up to [`MOST`]. All
//! clients share the pause: an attacker with many addresses is as slow as one with a single address, and no state is
//! kept per client. In that time there are at most as many guesses as the listener has connections, and a client with
//! the right token waits no longer than that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use subtle::ConstantTimeEq;
use tokio::time::{Instant, sleep_until};

use crate::settings::Secret;

/// What the first wrong token of a burst costs, and what any of them costs at most.
const LEAST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(2);

/// After so long without a wrong one, a burst is over.
const QUIET: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Token {
    secret: Secret,
    burst: Mutex<Option<Burst>>,
    refused: AtomicU64,
}

/// Wrong tokens, one soon after the other.
#[derive(Debug, Clone, Copy)]
struct Burst {
    wrong: u32,
    last: Instant,
}

impl Burst {
    /// When the next one is looked at.
    fn over(&self) -> Instant {
        let doubled = 2_u32.saturating_pow(self.wrong.saturating_sub(1));
        self.last + LEAST.saturating_mul(doubled).min(MOST)
    }
}

impl Token {
    #[must_use]
    pub(crate) fn new(secret: Secret) -> Self {
        Self {
            secret,
            burst: Mutex::new(None),
            refused: AtomicU64::new(0),
        }
    }

    /// How many were wrong, since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether this header brings the token. Whoever brings none has guessed nothing.
    pub(super) async fn is_in(&self, header: Option<&HeaderValue>) -> bool {
        let given = header.and_then(|header| header.as_bytes().split_at_checked("Bearer ".len()));
        match given {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"Bearer ") => {
                self.is(given).await
            }
            Some(_) | None => false,
        }
    }

    /// Whether this is the token: told when the time for another try has come.
    async fn is(&self, given: &[u8]) -> bool {
        let burst = *self.burst.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(burst) = burst {
            sleep_until(burst.over()).await;
        }
        let right = bool::from(self.secret.expose().as_bytes().ct_eq(given));
        if !right {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.note();
        }
        right
    }

    fn note(&self) {
        let now = Instant::now();
        let mut burst = self.burst.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = match *burst {
            Some(burst) if now < burst.last + QUIET => burst.wrong.saturating_add(1),
            Some(_) | None => 1,
        };
        *burst = Some(Burst { wrong, last: now });
        drop(burst);
        if wrong == 1 {
            tracing::warn!("a wrong token was given to the operator's listener");
        }
    }
}

#[cfg(test)]
mod tests {
    use config::ValueKind;
    use tokio::task::JoinSet;

    use super::*;
    use crate::settings::Setting;

    fn token() -> Token {
        let secret: Option<Secret> = Setting::parse(&ValueKind::from("right"));
        Token::new(secret.unwrap())
    }

    /// How long it takes to be told so.
    async fn told(token: &Token, given: &str, right: bool) -> Duration {
        let began = Instant::now();
        assert_eq!(token.is(given.as_bytes()).await, right, "{given}");
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_tokens_delay_the_next_one_up_to_a_limit() {
        let token = token();
        assert_eq!(told(&token, "right", true).await, Duration::ZERO);
        let mut waits = Vec::new();
        for _ in 0..9 {
            waits.push(told(&token, "wrong", false).await.as_millis());
        }
        assert_eq!(waits, [0, 50, 100, 200, 400, 800, 1600, 2000, 2000]);
    }

    #[tokio::test(start_paused = true)]
    async fn right_token_waits_a_bounded_time_while_others_guess() {
        let token = std::sync::Arc::new(token());
        let begin = Instant::now();
        let mut guessing = JoinSet::new();
        for _ in 0..64 {
            let token = std::sync::Arc::clone(&token);
            guessing.spawn(async move {
                let mut tries = 0_u32;
                while begin.elapsed() < Duration::from_mins(1) {
                    told(&token, "wrong", false).await;
                    tries += 1;
                }
                tries
            });
        }
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(777)).await;
            assert!(told(&token, "right", true).await <= MOST);
        }
        let tries: u32 = guessing.join_all().await.into_iter().sum();
        assert!(tries <= 64 * (60 / 2 + 2), "{tries} in a minute");
        tokio::time::sleep(MOST).await;
        assert_eq!(told(&token, "right", true).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_wait_has_no_more_tries() {
        let token = token();
        for _ in 0..9 {
            told(&token, "wrong", false).await;
        }
        for _ in 0..100 {
            let leaves = tokio::time::timeout(Duration::from_millis(10), token.is(b"wrong"));
            assert!(leaves.await.is_err(), "it was looked at");
        }
        assert_eq!(token.refused(), 9);
    }
}
