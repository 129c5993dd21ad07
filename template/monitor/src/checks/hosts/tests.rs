//! Hosts under paused time.

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::{advance, sleep, timeout};

use super::*;

const PAUSE: Duration = Duration::from_secs(30);

pub(in crate::checks) fn settings() -> Settings {
    Settings {
        per_host: 2,
        max_hosts: 3,
        breaker_failures: 3,
        breaker_pause: PAUSE,
    }
}

fn url(host: &str) -> Url {
    format!("http://{host}/some/page").parse().unwrap()
}

fn refused(hosts: &Hosts, host: &str) -> Option<Refused> {
    // The permit is dropped at once: only the refusal matters.
    hosts.try_acquire(&url(host)).err()
}

/// Hosts, with the breaker of `down` open.
fn opened() -> Hosts {
    let hosts = Hosts::new(&settings());
    for _ in 0..3 {
        hosts.try_acquire(&url("down")).unwrap().end(false);
    }
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
    hosts
}

#[tokio::test(start_paused = true)]
async fn concurrent_checks_of_a_host_are_limited() {
    let hosts = Hosts::new(&settings());
    let first = hosts.try_acquire(&url("slow")).unwrap();
    let _second = hosts.try_acquire(&url("slow")).unwrap();

    assert_eq!(refused(&hosts, "slow"), Some(Refused::Busy));
    assert_eq!(refused(&hosts, "slow:81"), None, "that is another one");
    assert_eq!(refused(&hosts, "quick"), None);

    drop(first);
    assert_eq!(refused(&hosts, "slow"), None);
}

#[tokio::test(start_paused = true)]
async fn breaker_opens_after_failures_in_a_row() {
    let hosts = Hosts::new(&settings());
    for answered in [false, false, true, false, false] {
        hosts.try_acquire(&url("flaky")).unwrap().end(answered);
    }
    assert_eq!(refused(&hosts, "flaky"), None, "never three in a row");

    hosts.try_acquire(&url("flaky")).unwrap().end(false);

    assert_eq!(refused(&hosts, "flaky"), Some(Refused::Down));
    assert_eq!(refused(&hosts, "other"), None);
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_trial_passes() {
    let hosts = opened();
    advance(PAUSE.saturating_sub(Duration::from_millis(1))).await;
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
    advance(Duration::from_millis(1)).await;

    let trial = hosts.try_acquire(&url("down")).unwrap();
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));

    trial.end(true);
    let _two = [0, 1].map(|_| hosts.try_acquire(&url("down")).unwrap());
}

#[tokio::test(start_paused = true)]
async fn failed_trial_opens_the_breaker_again() {
    let hosts = opened();
    for _ in 0..3 {
        advance(PAUSE).await;
        hosts.try_acquire(&url("down")).unwrap().end(false);
        assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_trial_leaves_its_turn_to_another() {
    let hosts = opened();
    advance(PAUSE).await;
    drop(hosts.try_acquire(&url("down")).unwrap());
    hosts.try_acquire(&url("down")).unwrap().end(true);
    assert_eq!(refused(&hosts, "down"), None);
}

#[tokio::test(start_paused = true)]
async fn request_from_before_the_opening_does_not_close_it() {
    let hosts = Hosts::new(&settings());
    let late = hosts.try_acquire(&url("down")).unwrap();
    for _ in 0..3 {
        hosts.try_acquire(&url("down")).unwrap().end(false);
    }
    late.end(true);
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
}

#[tokio::test(start_paused = true)]
async fn only_the_trial_decides() {
    for answered in [true, false] {
        let hosts = Hosts::new(&settings());
        let late = hosts.try_acquire(&url("down")).unwrap();
        for _ in 0..3 {
            hosts.try_acquire(&url("down")).unwrap().end(false);
        }
        advance(PAUSE).await;
        let trial = hosts.try_acquire(&url("down")).unwrap();

        late.end(answered);

        assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
        trial.end(true);
        assert_eq!(refused(&hosts, "down"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn latest_hosts_are_remembered() {
    let hosts = opened();
    let held = hosts.try_acquire(&url("held")).unwrap();
    for n in 0..100 {
        advance(Duration::from_millis(1)).await;
        hosts
            .try_acquire(&url(&format!("host-{n}")))
            .unwrap()
            .end(true);
        assert!(hosts.known().len() <= 3);
    }
    assert!(hosts.known().contains_key("held"), "it is being asked");
    assert_eq!(refused(&hosts, "down"), None, "it was forgotten");
    drop(held);
}

fn one_place() -> Hosts {
    Hosts::new(&Settings {
        per_host: 1,
        ..settings()
    })
}

#[tokio::test(start_paused = true)]
async fn waiting_check_gets_a_permit_once_one_is_free() {
    let hosts = Hosts::new(&settings());
    let began = Instant::now();
    let all = (0..100).map(|_| async {
        let permit = hosts.acquire(&url("slow")).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        permit.end(true);
    });
    join_all(all).await;
    assert_eq!(began.elapsed(), Duration::from_secs(50), "two at a time");
}

#[tokio::test(start_paused = true)]
async fn cancelled_waiter_wakes_the_next() {
    let hosts = one_place();
    let held = hosts.try_acquire(&url("slow")).unwrap();
    let (first, second) = (url("slow"), url("slow"));
    let mut first = Box::pin(hosts.acquire(&first));
    let mut second = Box::pin(hosts.acquire(&second));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());

    drop(held);
    drop(first);

    assert!(second.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn host_with_a_waiting_check_is_not_removed() {
    let hosts = Hosts::new(&Settings {
        per_host: 1,
        max_hosts: 1,
        ..settings()
    });
    let held = hosts.try_acquire(&url("slow")).unwrap();
    let slow = url("slow");
    let mut first = Box::pin(hosts.acquire(&slow));
    let mut second = Box::pin(hosts.acquire(&slow));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());

    // Before the first has taken its permit, another host needs room.
    drop(held);
    drop(hosts.try_acquire(&url("other")).unwrap());
    drop(first.await.unwrap());

    assert!(second.now_or_never().is_some(), "it was not woken");
}

#[tokio::test(start_paused = true)]
async fn open_breaker_ends_all_waits() {
    let hosts = Hosts::new(&settings());
    let failing = (0..100).map(|_| async {
        let permit = hosts.acquire(&url("down")).await;
        sleep(Duration::from_secs(1)).await;
        permit.map(|permit| permit.end(false))
    });
    let asked = join_all(failing).await.into_iter().flatten().count();
    assert_eq!(asked, 4, "two at a time, until three have failed");
}

#[tokio::test(start_paused = true)]
async fn waiting_checks_do_not_starve_scheduled_ones() {
    let hosts = one_place();
    let crowd = (0..1000).map(|_| async {
        let permit = hosts.acquire(&url("slow")).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        permit.end(true);
    });
    let due = async {
        let mut put_off = [0; 5];
        for times in &mut put_off {
            sleep(Duration::from_millis(50)).await;
            while refused(&hosts, "slow").is_some() {
                *times += 1;
                // The longest postponement of a check.
                sleep(Duration::from_millis(3500)).await;
            }
        }
        put_off
    };
    let (_, put_off) = tokio::join!(join_all(crowd), due);
    assert_eq!(put_off, [1; 5], "then there is a place for it");
}

#[tokio::test(start_paused = true)]
async fn reserved_permit_expires() {
    let hosts = one_place();
    let held = hosts.try_acquire(&url("slow")).unwrap();
    assert_eq!(refused(&hosts, "slow"), Some(Refused::Busy));
    drop(held);
    let began = Instant::now();

    let waited = timeout(Duration::from_mins(1), hosts.acquire(&url("slow"))).await;

    assert!(waited.unwrap().is_some());
    assert_eq!(began.elapsed(), RESERVATION);
}
