//! Rate limits per client: a token bucket with a rate per minute and a burst.
//!
//! - A client is the address that [`edge`](super::edge) finds, or for IPv6 its /64 network. Requests that came over no
//!   listener are one client.
//! - A client without enough tokens gets 429, with the seconds to wait in `Retry-After`.
//! - Memory use is constant: clients share 65536 buckets by a keyed hash. Each process counts alone.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::header;
use tokio::time::Instant;

use crate::context::RequestContext;
use crate::problem::Problem;

const BUCKETS: usize = 1 << 16;

const SECOND: u64 = 1_000_000_000;

/// A rate limit for each client. Clones share it.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// When each bucket is full again, in nanoseconds since `start`.
    full_at: Arc<[AtomicU64]>,
    hasher: RandomState,
    start: Instant,
    /// Nanoseconds for a token.
    interval: u64,
    burst: NonZeroU32,
}

impl RateLimit {
    /// Allows each client a rate, and a burst.
    #[must_use]
    pub fn new(per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            full_at: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            start: Instant::now(),
            interval: 60 * SECOND / u64::from(per_minute.get()),
            burst,
        }
    }

    /// Takes tokens of the client of the current request. A cost above the burst takes the whole burst. If the client
    /// does not have enough, takes none and fails with [`Problem::TOO_MANY_REQUESTS`].
    pub fn take(&self, cost: NonZeroU32) -> Result<(), Problem> {
        let client = RequestContext::with(|context| context.client).flatten();
        let client = match client.map(|client| client.to_canonical()) {
            Some(IpAddr::V6(address)) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            Some(address @ IpAddr::V4(_)) => address,
            None => Ipv4Addr::UNSPECIFIED.into(),
        };
        let [low, high, ..] = self.hasher.hash_one(client).to_le_bytes();
        let full_at = &self.full_at[usize::from(u16::from_le_bytes([low, high]))];

        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let time = |tokens: NonZeroU32| self.interval.saturating_mul(tokens.get().into());
        let latest = now.saturating_add(time(self.burst));
        let after = |full_at: u64| full_at.max(now).saturating_add(time(cost.min(self.burst)));
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(after(full_at)).filter(|after| *after <= latest)
        });
        taken.map(drop).map_err(|full_at| {
            let seconds = (after(full_at) - latest).div_ceil(SECOND);
            Problem::TOO_MANY_REQUESTS.with_header(header::RETRY_AFTER, seconds.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::response::IntoResponse;
    use tokio::time::advance;

    use super::*;

    const ONE_SECOND: Duration = Duration::from_secs(1);

    /// One a second, and a burst of ten.
    fn rate() -> RateLimit {
        RateLimit::new(60.try_into().unwrap(), 10.try_into().unwrap())
    }

    /// The seconds in `Retry-After`, or `None` if the client has enough tokens.
    fn take(rate: &RateLimit, client: &str, cost: u32) -> Option<u64> {
        let context = RequestContext {
            client: Some(client.parse().unwrap()),
            ..RequestContext::until(Instant::now())
        };
        let taken = context.sync_scope(|| rate.take(cost.try_into().unwrap()));
        let refused = taken.err()?.into_response();
        assert_eq!(refused.status(), 429);
        let mut after = refused.headers().get_all(header::RETRY_AFTER).iter();
        let (Some(first), None) = (after.next(), after.next()) else {
            panic!("{refused:?}");
        };
        Some(first.to_str().unwrap().parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn client_has_a_burst_and_a_rate() {
        let rate = rate();
        for _ in 0..10 {
            assert_eq!(take(&rate, "192.0.2.1", 1), None);
        }
        for seconds in 1..=20 {
            assert_eq!(take(&rate, "192.0.2.1", 1), Some(1));
            advance(ONE_SECOND).await;
            assert_eq!(take(&rate, "192.0.2.1", 1), None, "after {seconds} s");
        }
        assert_eq!(take(&rate, "192.0.2.2", 1), None, "another has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn cost_is_taken_whole_or_not_at_all() {
        let rate = rate();
        assert_eq!(take(&rate, "192.0.2.1", 7), None);
        for _ in 0..5 {
            assert_eq!(take(&rate, "192.0.2.1", 8), Some(5));
        }
        assert_eq!(take(&rate, "192.0.2.1", 3), None);
        advance(ONE_SECOND * 9 / 2).await;
        assert_eq!(take(&rate, "192.0.2.1", 8), Some(4), "the rest of 3.5 s");
        advance(ONE_SECOND * 4).await;
        assert_eq!(take(&rate, "192.0.2.1", 8), None, "as it was told");
    }

    #[tokio::test(start_paused = true)]
    async fn cost_above_the_burst_takes_the_whole_burst() {
        let rate = rate();
        assert_eq!(take(&rate, "192.0.2.1", 1000), None);
        assert_eq!(take(&rate, "192.0.2.1", 1), Some(1));
        advance(ONE_SECOND).await;
        assert_eq!(take(&rate, "192.0.2.1", 1000), Some(9));
    }

    #[tokio::test(start_paused = true)]
    async fn ipv6_network_of_64_bits_is_one_client() {
        let rate = rate();
        assert_eq!(take(&rate, "2001:db8:1:2::1", 10), None);
        assert_eq!(take(&rate, "2001:db8:1:2:ffff::ffff", 10), Some(10));
        assert_eq!(take(&rate, "2001:db8:1:3::1", 10), None);
        assert_eq!(take(&rate, "192.0.2.1", 10), None);
        assert_eq!(take(&rate, "::ffff:192.0.2.1", 10), Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_share_constant_memory() {
        let rate = rate();
        let buckets = u32::try_from(BUCKETS).unwrap();
        let clients = (0..4 * buckets).map(|n| RequestContext {
            client: Some(Ipv4Addr::from_bits(n).into()),
            ..RequestContext::until(Instant::now())
        });
        let all = rate.burst;
        let had = clients.filter(|client| client.clone().sync_scope(|| rate.take(all)).is_ok());
        let had = had.count();
        // They share the buckets evenly, so that hardly any bucket is left.
        assert!((BUCKETS * 95 / 100..=BUCKETS).contains(&had), "{had}");
    }
}
