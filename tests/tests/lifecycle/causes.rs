//! The causes of a stop, and a second cause during it.

use std::time::Duration;

use harness::service::Signal;

use crate::{clean, faulty, get, in_handler, running};

#[tokio::test]
async fn idle_service_exits_within_a_second_of_a_signal() {
    for (signal, name, delay) in [
        (Signal::TERM, "SIGTERM", "0s"),
        (Signal::INT, "SIGINT", "0s"),
        // It skips the delay.
        (Signal::QUIT, "SIGQUIT", "20s"),
    ] {
        let launch = faulty().set("shutdown.delay", delay);
        let service = running(launch.set("shutdown.grace", "60s")).await;
        get(&service, "/livez").await;

        service.signal(signal);

        let exit = service.exit().await;
        clean(&exit);
        assert!(exit.took < Duration::from_secs(1), "took {:?}", exit.took);
        assert_eq!(exit.event("draining").unwrap().field("signal"), name);
    }
}

#[tokio::test]
async fn second_signal_exits_at_once_and_is_logged() {
    for (second, code, delay) in [
        (Signal::TERM, 143, "0s"),
        (Signal::INT, 130, "20s"),
        (Signal::QUIT, 131, "0s"),
    ] {
        let launch = faulty().set("shutdown.delay", delay);
        let service = running(launch.set("shutdown.grace", "60s")).await;
        let _unanswered = in_handler(&service, "/never").await;
        service.signal(Signal::TERM);
        service.event("draining").await;

        service.signal(second);

        let exit = service.exit().await;
        assert_eq!(exit.code, Some(code), "{exit}");
        assert!(exit.took < Duration::from_secs(1), "took {:?}", exit.took);
        let last = exit.events.last().unwrap();
        assert_eq!(last.message, "stopped", "{exit}");
        assert_eq!(last.field("outcome"), "killed", "{exit}");
        assert_eq!(last.field("exit_code"), code, "{exit}");
    }
}
