//! The service starts, answers probes, stops on a signal, and refuses wrong settings.

use mainstay::testing::{Signal, ask_with, get};

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
    assert_eq!(
        (&stopped["outcome"], &stopped["exit_code"]),
        (&"clean".into(), &0.into())
    );
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn is_unready_alive_and_serving_during_the_delay() {
    let service = service().set("shutdown.grace", "1m");
    let service = service.set("shutdown.delay", "30s").start();

    service.signal(Signal::TERM);
    service.event("draining");

    for (path, status) in [("/readyz", 503), ("/livez", 200), ("/docs", 200)] {
        assert_eq!(get(service.http(), path).status, status, "{path}");
    }
    let kept = ask_with(
        service.http(),
        "GET",
        "/docs",
        &[("connection", "keep-alive")],
        "",
    );
    assert_eq!(
        kept.header("connection"),
        Some("close"),
        "clients come back elsewhere"
    );

    // A second signal exits at once.
    service.signal(Signal::TERM);
    assert_eq!(service.event("stopped")["outcome"], "killed");
    assert_eq!(service.ended().code(), Some(143));
}

#[test]
fn refuses_wrong_settings_all_at_once() {
    let service = service().env("APP__HELLO__GREETNG", "Ahoy");
    let refused = service.set("hello.forget_after", "soon").output();

    assert_eq!(refused.status.code(), Some(1));
    let report = String::from_utf8_lossy(&refused.stderr);
    for problem in ["did you mean `APP__HELLO__GREETING`", "hello.forget_after"] {
        assert!(report.contains(problem), "{report}");
    }
    assert!(refused.stdout.is_empty(), "nothing has started");
}
