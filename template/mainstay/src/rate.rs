//! Rate limits per client: a token bucket with a rate per minute and a burst.
//!
//! - A client is the sender of a request as [`edge`](super::edge) determines it: behind trusted proxies, the
//!   address that they forward. An IPv6 client is its /64 network.
//! - A request has a cost, which is taken as a whole or not at all. A client without enough tokens gets 429,
//!   with the seconds to wait in `Retry-After`.
//! - Memory use is constant: clients share 65536 buckets by a keyed hash. Of a thousand clients at a time,
//!   about fifteen share a bucket with another one.
//! - The limit applies to one process. Behind a load balancer, each replica allows as much.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use governor::clock::Clock;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use crate::context::Context;
use crate::problem::Problem;

/// How many buckets there are, of eight bytes each.
const BUCKETS: usize = 1 << 16;

/// A rate limit for each client. All clones are the same.
#[derive(Debug, Clone)]
pub struct RateLimit {
    limiter: Arc<RateLimiter<IpAddr, Buckets, Time>>,
    at_once: NonZeroU32,
}

impl RateLimit {
    /// Allows each client a rate, and a burst of `at_once`.
    #[must_use]
    pub fn new(per_minute: NonZeroU32, at_once: NonZeroU32) -> Self {
        let quota = Quota::per_minute(per_minute).allow_burst(at_once);
        let limiter = RateLimiter::new(quota, Buckets::new(), Time(Instant::now()));
        Self {
            limiter: Arc::new(limiter),
            at_once,
        }
    }

    /// Takes tokens of the client of the current request. A cost above the burst takes the whole burst.
    ///
    /// # Errors
    ///
    /// [`Problem::TOO_MANY_REQUESTS`] if the client does not have enough. No tokens are taken then.
    pub fn take(&self, cost: NonZeroU32) -> Result<(), Problem> {
        let client = Context::with(|context| context.client).flatten();
        // Those that came over no listener are one.
        let client = client.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let taken = self
            .limiter
            .check_key_n(&subscriber(client), cost.min(self.at_once));
        match taken {
            Ok(Err(until)) => Err(too_many(until.wait_time_from(self.limiter.clock().now()))),
            // There is never too little room for the cost.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

/// To be tried again after this time, in whole seconds.
fn too_many(wait: Duration) -> Problem {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let problem = Problem::TOO_MANY_REQUESTS;
    problem.with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// Who is behind an address.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// What each has left, in as many places as there ever are.
struct Buckets {
    buckets: Box<[InMemoryState]>,
    hasher: RandomState,
}

impl Buckets {
    fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| InMemoryState::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl StateStore for Buckets {
    type Key = IpAddr;

    fn measure_and_replace<T, F, E>(&self, client: &IpAddr, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let [low, high, ..] = self.hasher.hash_one(client).to_le_bytes();
        let bucket = &self.buckets[usize::from(u16::from_le_bytes([low, high]))];
        bucket.measure_and_replace(&NotKeyed::NonKey, decide)
    }
}

impl std::fmt::Debug for Buckets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buckets").finish_non_exhaustive()
    }
}

/// Tokio's time, since the beginning of this.
#[derive(Debug, Clone)]
struct Time(Instant);

impl Clock for Time {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// One in a second, and ten at once.
    fn rate() -> RateLimit {
        RateLimit::new(60.try_into().unwrap(), 10.try_into().unwrap())
    }

    /// What a client is told who asks for this: nothing, or after how many seconds to come again.
    fn asks(rate: &RateLimit, client: &str, cost: u32) -> Option<u64> {
        let context = Context {
            client: Some(client.parse().unwrap()),
            ..Context::until(Instant::now())
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
    async fn a_client_has_so_much_at_once_and_so_much_in_a_while() {
        let rate = rate();
        for _ in 0..10 {
            assert_eq!(asks(&rate, "192.0.2.1", 1), None);
        }
        for seconds in 1..=20 {
            assert_eq!(asks(&rate, "192.0.2.1", 1), Some(1));
            advance(SECOND).await;
            assert_eq!(asks(&rate, "192.0.2.1", 1), None, "after {seconds} s");
        }
        assert_eq!(asks(&rate, "192.0.2.2", 1), None, "another has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn a_cost_is_taken_whole_or_not_at_all() {
        let rate = rate();
        assert_eq!(asks(&rate, "192.0.2.1", 7), None);
        for _ in 0..5 {
            assert_eq!(asks(&rate, "192.0.2.1", 8), Some(5));
        }
        assert_eq!(asks(&rate, "192.0.2.1", 3), None);
        advance(SECOND * 9 / 2).await;
        assert_eq!(asks(&rate, "192.0.2.1", 8), Some(4), "the rest of 3.5 s");
        advance(SECOND * 4).await;
        assert_eq!(asks(&rate, "192.0.2.1", 8), None, "as it was told");
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_more_than_can_be_saved_is_had_for_all_of_that() {
        let rate = rate();
        assert_eq!(asks(&rate, "192.0.2.1", 1000), None);
        assert_eq!(asks(&rate, "192.0.2.1", 1), Some(1));
        advance(SECOND).await;
        assert_eq!(asks(&rate, "192.0.2.1", 1000), Some(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_is_one_client_whatever_address_it_uses() {
        let rate = rate();
        assert_eq!(asks(&rate, "2001:db8:1:2::1", 10), None);
        assert_eq!(asks(&rate, "2001:db8:1:2:ffff::ffff", 10), Some(10));
        assert_eq!(asks(&rate, "2001:db8:1:3::1", 10), None);
        assert_eq!(asks(&rate, "192.0.2.1", 10), None);
        assert_eq!(asks(&rate, "::ffff:192.0.2.1", 10), Some(10));
    }

    #[tokio::test(start_paused = true)]
    async fn limiter_keeps_little_memory_for_a_client_with_many_addresses() {
        let rate = rate();
        let buckets = u32::try_from(BUCKETS).unwrap();
        let clients = (0..4 * buckets).map(|n| Context {
            client: Some(Ipv4Addr::from_bits(n).into()),
            ..Context::until(Instant::now())
        });
        let all = rate.at_once;
        let had = clients.filter(|client| client.clone().sync_scope(|| rate.take(all)).is_ok());
        let had = had.count();
        // There is not more for them than this; and they share it evenly, so that hardly any of it is left.
        assert!((BUCKETS * 95 / 100..=BUCKETS).contains(&had), "{had}");
    }
}
