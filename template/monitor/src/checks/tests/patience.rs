//! A check has its time, and whatever cuts it sooner speaks for nobody.

use tokio::sync::oneshot;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// The check of a target that has this time, of a process that has it for so long.
fn due_within(peer: &Peer, timeout: Duration, lease: Duration) -> Due {
    Due {
        timeout,
        deadline: Instant::now() + lease,
        ..due_at(peer)
    }
}

/// How a check comes out for a client that waits so long.
async fn asked(checks: &Checks, peer: &Peer, patience: Duration) -> Option<&'static str> {
    let url = peer.url("/");
    let (answer, checked) = oneshot::channel();
    let asked = Asked {
        pass: checks.hosts.wait(&url).await.unwrap(),
        url,
        timeout: patience,
        context: None,
        answer,
    };
    let nobody = CancellationToken::new();
    checks.clone().make(Errand::Asked(asked), nobody).await;
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
    assert!(checks.hosts.pass(&peer.url("/")).is_ok());
}

#[tokio::test(start_paused = true)]
async fn clients_without_patience_have_no_host_taken_for_down() {
    let peer = Peer::always(Reply::Silence).await;
    let (checks, mut told, _supervisor) = checks(&hosts::tests::settings());
    for _ in 0..5 {
        let reason = asked(&checks, &peer, SECOND).await;
        assert_eq!(reason, Some("timeout"));
    }
    assert!(checks.hosts.pass(&peer.url("/")).is_ok());

    // Of a target, the time is what the host should answer in.
    for _ in 0..3 {
        made(&checks, due_within(&peer, SECOND, 60 * SECOND)).await;
        told.recv().await.unwrap();
    }
    let refused = checks.hosts.pass(&peer.url("/")).unwrap_err();
    assert_eq!(refused, hosts::Refused::Down);
}
