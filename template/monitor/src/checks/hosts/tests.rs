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

fn one_place() -> Hosts {
    Hosts::new(&Settings {
        per_host: 1,
        ..settings()
    })
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_has_a_place_once_there_is_one() {
    let hosts = Hosts::new(&settings());
    let began = Instant::now();
    let all = (0..100).map(|_| async {
        let pass = hosts.wait(&url("slow")).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        pass.end(true);
    });
    join_all(all).await;
    assert_eq!(began.elapsed(), Duration::from_secs(50), "two at a time");
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_and_leaves_takes_nobodys_turn_along() {
    let hosts = one_place();
    let held = hosts.pass(&url("slow")).unwrap();
    let (first, second) = (url("slow"), url("slow"));
    let mut first = Box::pin(hosts.wait(&first));
    let mut second = Box::pin(hosts.wait(&second));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());

    drop(held);
    drop(first);

    assert!(second.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_host_for_which_somebody_waits_is_not_forgotten() {
    let hosts = Hosts::new(&Settings {
        per_host: 1,
        max_hosts: 1,
        ..settings()
    });
    let held = hosts.pass(&url("slow")).unwrap();
    let slow = url("slow");
    let mut first = Box::pin(hosts.wait(&slow));
    let mut second = Box::pin(hosts.wait(&slow));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());

    // Before the first has taken its place, others come, for whom there is no room to be remembered.
    drop(held);
    drop(hosts.pass(&url("other")).unwrap());
    drop(first.await.unwrap());

    assert!(second.now_or_never().is_some(), "nobody has told it");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_host_that_is_down_are_all_told() {
    let hosts = Hosts::new(&settings());
    let failing = (0..100).map(|_| async {
        let pass = hosts.wait(&url("down")).await;
        sleep(Duration::from_secs(1)).await;
        pass.map(|pass| pass.end(false))
    });
    let asked = join_all(failing).await.into_iter().flatten().count();
    assert_eq!(asked, 4, "two at a time, until three have failed");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_do_not_keep_out_what_is_due() {
    let hosts = one_place();
    let crowd = (0..1000).map(|_| async {
        let pass = hosts.wait(&url("slow")).await.unwrap();
        sleep(Duration::from_millis(100)).await;
        pass.end(true);
    });
    let due = async {
        let mut put_off = [0; 5];
        for times in &mut put_off {
            sleep(Duration::from_millis(50)).await;
            while refused(&hosts, "slow").is_some() {
                *times += 1;
                // As long as a check is put off at most.
                sleep(Duration::from_millis(3500)).await;
            }
        }
        put_off
    };
    let (_, put_off) = tokio::join!(join_all(crowd), due);
    assert_eq!(put_off, [1; 5], "then there is a place for it");
}

#[tokio::test(start_paused = true)]
async fn a_place_is_not_kept_for_ever() {
    let hosts = one_place();
    let held = hosts.pass(&url("slow")).unwrap();
    assert_eq!(refused(&hosts, "slow"), Some(Refused::Busy));
    drop(held);
    let began = Instant::now();

    let waited = timeout(Duration::from_mins(1), hosts.wait(&url("slow"))).await;

    assert!(waited.unwrap().is_some());
    assert_eq!(began.elapsed(), KEPT);
}
