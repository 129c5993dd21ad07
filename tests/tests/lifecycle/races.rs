//! The causes of a stop, and requests and other causes that race it.

use std::time::Duration;

use harness::http::{Kind, Request, get, send};
use harness::service::Signal;
use tokio::task::JoinSet;

use crate::{clean, count, faulty, in_handler};

#[tokio::test]
async fn idle_service_exits_within_a_second_of_a_signal() {
    for (signal, name, delay) in [
        (Signal::TERM, "SIGTERM", "0s"),
        (Signal::INT, "SIGINT", "0s"),
        // It skips the delay.
        (Signal::QUIT, "SIGQUIT", "20s"),
    ] {
        let launch = faulty().set("shutdown.delay", delay);
        let service = launch.set("shutdown.grace", "60s").ready().await;
        get(service.http().await, "/livez").await.unwrap();

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
        let service = launch.set("shutdown.grace", "60s").ready().await;
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

#[tokio::test]
async fn two_causes_stop_the_service_once() {
    for round in 0..6 {
        let service = faulty().set("faults.task", "critical").ready().await;
        let (http, operator) = (service.http().await, service.operator().await);
        let fall = tokio::spawn(async move { get(http, "/fall").await });
        let stop = tokio::spawn(async move { send(operator, Request::post("/api/stop")).await });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }

        service.signal(Signal::TERM);

        let exit = service.exit().await;
        // The race decides whether these are answered.
        _ = (fall.await, stop.await);
        for message in ["draining", "stopped"] {
            assert_eq!(count(&exit, message), 1, "{message}: {exit}");
        }
        let draining = exit.event("draining").unwrap();
        let gave_up = draining.field("task") == "faulty";
        assert_eq!(exit.code, Some(i32::from(gave_up)), "{exit}");
    }
}

#[tokio::test]
async fn requests_that_race_the_signal_are_answered() {
    const CLIENTS: usize = 3000;
    let service = faulty().ready().await;
    let address = service.http().await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(async move { get(address, "/slow?ms=20").await });
    }
    // While the requests are in flight.
    service.event("slow begun").await;

    service.signal(Signal::TERM);

    let mut answered = 0;
    for result in clients.join_all().await {
        match result {
            Ok(answer) => {
                assert_eq!(answer.status, 200, "{answer}");
                answered += 1;
            }
            // After the close of the listener.
            Err(failure) => {
                let is_cut = matches!(failure.kind, Kind::Refused | Kind::Closed | Kind::Reset);
                assert!(is_cut, "{failure}");
            }
        }
    }
    let log = service.log().clone();
    let exit = service.exit().await;
    clean(&exit);
    // The log is complete, through a pipe.
    assert_eq!(count(&exit, "slow begun"), answered);
    assert_eq!(count(&exit, "request"), answered);
    assert_eq!(log.strays(), [""; 0]);
}
