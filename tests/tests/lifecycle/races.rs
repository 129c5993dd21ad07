//! Requests and other causes that race a stop.

use harness::http::{Failure, Kind, Request, get, send};
use harness::service::{Exit, Signal};
use tokio::task::JoinSet;

use crate::{faulty, running};

#[tokio::test]
async fn two_causes_stop_the_service_once() {
    for round in 0..6 {
        let service = running(faulty().set("faults.task", "critical")).await;
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
            let times = count(&exit, |event| event == message);
            assert_eq!(times, 1, "{message}: {exit}");
        }
        let draining = exit.event("draining").unwrap();
        let gave_up = draining.field("task") == "faulty";
        assert_eq!(exit.code, Some(i32::from(gave_up)), "{exit}");
    }
}

#[tokio::test]
async fn requests_that_race_the_signal_are_answered() {
    const CLIENTS: usize = 3000;
    let service = running(faulty()).await;
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
            Err(Failure {
                kind: Kind::Refused | Kind::Closed | Kind::Reset,
                ..
            }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let exit = service.exit().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    assert_eq!(count(&exit, |event| event == "slow begun"), answered);
    assert_eq!(count(&exit, |event| event == "request"), answered);
}

fn count(exit: &Exit, fits: impl Fn(&str) -> bool) -> usize {
    let events = exit.events.iter();
    events.filter(|event| fits(&event.message)).count()
}
