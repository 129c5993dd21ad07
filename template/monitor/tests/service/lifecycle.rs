//! The process starts, answers probes and stops cleanly.

use mainstay::testing::{Signal, get};

use crate::service;

#[test]
fn starts_answers_probes_and_stops_on_sigterm() {
    let service = service().start();
    for listener in [service.http(), service.operator()] {
        for probe in ["/livez", "/readyz", "/startupz"] {
            let answer = get(listener, probe);
            assert_eq!((answer.status, &*answer.body), (200, "ok"), "{probe}");
        }
    }

    service.signal(Signal::TERM);

    assert_eq!(service.event("draining")["signal"], "SIGTERM");
    let stopped = service.event("stopped");
    assert_eq!(stopped["outcome"], "clean", "{stopped}");
    assert_eq!(service.ended().code(), Some(0));
}
