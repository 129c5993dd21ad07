//! The operator's token.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::HeaderValue;
use subtle::ConstantTimeEq;

use crate::settings::Secret;

#[derive(Debug)]
pub(crate) struct Token {
    secret: Secret,
    refused: AtomicU64,
}

impl Token {
    #[must_use]
    pub(crate) fn new(secret: Secret) -> Self {
        Self {
            secret,
            refused: AtomicU64::new(0),
        }
    }

    /// The number of wrong tokens since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether an `Authorization` header carries the token. The comparison takes constant time.
    pub(super) fn is_in(&self, header: Option<&HeaderValue>) -> bool {
        let given = header.and_then(|header| header.as_bytes().split_at_checked("Bearer ".len()));
        let Some((_, given)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        else {
            return false;
        };
        let is_right = bool::from(self.secret.expose().as_bytes().ct_eq(given));
        if !is_right {
            let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
            // The 1st, 2nd, 4th, 8th and so on, so that guesses do not fill the log.
            if refused.is_power_of_two() {
                tracing::warn!(refused, "wrong token on the operator's listener");
            }
        }
        is_right
    }
}
