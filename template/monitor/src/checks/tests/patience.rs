//! Time limits of checks: a limit below the timeout of the target does not count against the host.

use tokio::sync::oneshot;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A check with this timeout of the target, and this much of the lease left.
fn due_within(peer: &Peer, timeout: Duration, lease: Duration) -> Due {
    Due {
        timeout,
        deadline: Instant::now() + lease,
        ..due_at(peer)
    }
}

/// The result of a check for a client with this timeout.
async fn asked(checks: &Checks, peer: &Peer, patience: Duration) -> Option<&'static str> {
    let url = peer.url("/");
    let (answer, checked) = oneshot::channel();
    let asked = Asked {
        permit: checks.hosts.acquire(&url).await.unwrap(),
        url,
        timeout: patience,
        context: None,
        answer,
    };
    let never = CancellationToken::new();
    checks.clone().make(Job::Asked(asked), never).await;
    checked.await.unwrap().verdict.reason()
}

#[tokio::test(start_paused = true)]
async fn check_that_waited_too_long_is_postponed() {
    let peer = Peer::always(answer("200 OK", "", "")).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());

    made(&checks, due_within(&peer, 10 * SECOND, 9 * SECOND)).await;

    let report = told.recv().await.unwrap();
    assert!(matches!(report.end, End::Postponed), "{report:?}");
    assert_eq!(peer.seen().await, []);
}

#[tokio::test(start_paused = true)]
async fn check_cut_by_its_lease_does_not_count_for_its_host() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    for _ in 0..5 {
        made(&checks, due_within(&peer, SECOND, SECOND)).await;
        let report = told.recv().await.unwrap();
        assert!(matches!(report.end, End::Postponed), "{report:?}");
    }
    assert!(checks.hosts.try_acquire(&peer.url("/")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn short_client_timeouts_do_not_open_a_breaker() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    for _ in 0..5 {
        let reason = asked(&checks, &peer, SECOND).await;
        assert_eq!(reason, Some("timeout"));
    }
    assert!(checks.hosts.try_acquire(&peer.url("/")).is_ok());

    // The timeout of a target is the time in which its host should respond.
    for _ in 0..3 {
        made(&checks, due_within(&peer, SECOND, 60 * SECOND)).await;
        told.recv().await.unwrap();
    }
    let refused = checks.hosts.try_acquire(&peer.url("/")).unwrap_err();
    assert_eq!(refused, hosts::Refused::Down);
}
