//! Hosts under paused time.

use tokio::time::advance;

use super::*;

const PAUSE: Duration = Duration::from_secs(30);

pub(in crate::service::checks) fn settings() -> Settings {
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
    // Dropped at once: what is asked for here is whether there would be one.
    hosts.pass(&url(host)).err()
}

/// Hosts of which `down` has failed so often that its breaker is open.
fn opened() -> Hosts {
    let hosts = Hosts::new(&settings());
    for _ in 0..3 {
        hosts.pass(&url("down")).unwrap().end(false);
    }
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
    hosts
}

#[tokio::test(start_paused = true)]
async fn no_more_checks_are_made_of_one_host_than_may_be() {
    let hosts = Hosts::new(&settings());
    let first = hosts.pass(&url("slow")).unwrap();
    let _second = hosts.pass(&url("slow")).unwrap();

    assert_eq!(refused(&hosts, "slow"), Some(Refused::Busy));
    assert_eq!(refused(&hosts, "slow:81"), None, "that is another one");
    assert_eq!(refused(&hosts, "quick"), None);

    drop(first);
    assert_eq!(refused(&hosts, "slow"), None);
}

#[tokio::test(start_paused = true)]
async fn who_fails_several_times_in_a_row_is_left_alone() {
    let hosts = Hosts::new(&settings());
    for answered in [false, false, true, false, false] {
        hosts.pass(&url("flaky")).unwrap().end(answered);
    }
    assert_eq!(refused(&hosts, "flaky"), None, "never three in a row");

    hosts.pass(&url("flaky")).unwrap().end(false);

    assert_eq!(refused(&hosts, "flaky"), Some(Refused::Down));
    assert_eq!(refused(&hosts, "other"), None);
}

#[tokio::test(start_paused = true)]
async fn after_the_pause_one_trial_is_made_and_the_others_wait_for_it() {
    let hosts = opened();
    advance(PAUSE.saturating_sub(Duration::from_millis(1))).await;
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
    advance(Duration::from_millis(1)).await;

    let trial = hosts.pass(&url("down")).unwrap();
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));

    trial.end(true);
    let _two = [0, 1].map(|_| hosts.pass(&url("down")).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_fails_is_one_more_pause() {
    let hosts = opened();
    for _ in 0..3 {
        advance(PAUSE).await;
        hosts.pass(&url("down")).unwrap().end(false);
        assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_is_dropped_leaves_its_place_to_another() {
    let hosts = opened();
    advance(PAUSE).await;
    drop(hosts.pass(&url("down")).unwrap());
    hosts.pass(&url("down")).unwrap().end(true);
    assert_eq!(refused(&hosts, "down"), None);
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_before_it_opened_does_not_close_it() {
    let hosts = Hosts::new(&settings());
    let late = hosts.pass(&url("down")).unwrap();
    for _ in 0..3 {
        hosts.pass(&url("down")).unwrap().end(false);
    }
    late.end(true);
    assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
}

#[tokio::test(start_paused = true)]
async fn only_the_trial_decides() {
    for answered in [true, false] {
        let hosts = Hosts::new(&settings());
        let late = hosts.pass(&url("down")).unwrap();
        for _ in 0..3 {
            hosts.pass(&url("down")).unwrap().end(false);
        }
        advance(PAUSE).await;
        let trial = hosts.pass(&url("down")).unwrap();

        late.end(answered);

        assert_eq!(refused(&hosts, "down"), Some(Refused::Down));
        trial.end(true);
        assert_eq!(refused(&hosts, "down"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_hosts_those_are_remembered_that_were_asked_last() {
    let hosts = opened();
    let held = hosts.pass(&url("held")).unwrap();
    for n in 0..100 {
        advance(Duration::from_millis(1)).await;
        hosts.pass(&url(&format!("host-{n}"))).unwrap().end(true);
        assert!(hosts.known().len() <= 3);
    }
    assert!(hosts.known().contains_key("held"), "it is being asked");
    assert_eq!(refused(&hosts, "down"), None, "it was forgotten");
    drop(held);
}
