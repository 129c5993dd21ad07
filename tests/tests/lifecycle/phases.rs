//! The phases of a stop: each within its budget, and in the log.

use std::time::Duration;

use harness::eventually;
use harness::http::{self, Conversation, Http1, Http2, Kind};
use harness::log::Event;
use harness::service::Signal;

use crate::websocket::WebSocket;
use crate::{AT_ONCE, abandoned, begin, clean, faulty, get, in_handler};

#[tokio::test]
async fn request_in_flight_is_answered_before_the_exit() {
    let service = faulty().ready().await;
    let request = in_handler(&service, "/slow?ms=1500").await;
    let mut streamed = begin(&service, "/stream?chunks=5&ms=300").await;
    let head = streamed.head().await.unwrap();
    streamed.until("0\n").await.unwrap();

    let (exit, rest) = tokio::join!(service.stop(), streamed.closed());

    let answer = request.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"), "{answer}");
    assert_eq!(answer.header("connection"), Some("close"), "{answer}");
    assert_eq!(head.status, 200, "{head}");
    let rest = String::from_utf8(rest.unwrap().rest).unwrap();
    assert!(rest.ends_with("4\n\r\n0\r\n\r\n"), "{rest:?}");
    clean(&exit);
}

#[tokio::test]
async fn delay_serves_and_drain_refuses_new_connections() {
    let service = faulty().set("shutdown.delay", "5s").ready().await;
    let mut kept = Http1::connect(service.http().await).await.unwrap();
    let before = kept.get("/livez").await.unwrap();
    assert_eq!(before.header("connection"), None, "{before}");
    let (http, operator) = (service.http().await, service.operator().await);
    let request = in_handler(&service, "/slow?ms=12000").await;

    service.signal(Signal::TERM);
    service.event("draining").await;

    for (path, status) in [("/readyz", 503), ("/livez", 200), ("/startupz", 200)] {
        let answer = get(&service, path).await;
        assert_eq!(answer.status, status, "{path}: {answer}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer}");
        assert_eq!(service.ask(path).await.status, status, "{path}");
    }
    let new = get(&service, "/slow?ms=0").await;
    assert_eq!((new.status, new.text()), (200, "done"), "{new}");
    let again = kept.get("/slow?ms=0").await.unwrap();
    assert_eq!(again.header("connection"), Some("close"), "{again}");

    eventually("a refusal", async || {
        let failure = http::get(http, "/livez").await.err()?;
        (failure.kind == Kind::Refused).then_some(())
    })
    .await;
    assert!(!request.is_finished(), "the request was in flight");
    service.signal(Signal::HUP);
    // The operator's listener still answers.
    let livez = http::get(operator, "/livez").await.unwrap();
    let readyz = http::get(operator, "/readyz").await.unwrap();
    assert_eq!((livez.status, readyz.status), (200, 503));
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    clean(&service.exit().await);
}

#[tokio::test]
async fn drain_cuts_and_names_a_hanging_handler() {
    let launch = faulty()
        .set("shutdown.drain", "1s")
        .set("http.http2", true)
        // A task that ignores its cancellation is named too.
        .set("faults.task", "deaf");
    let service = launch.ready().await;
    let address = service.http().await;
    let first = in_handler(&service, "/never").await;
    let second = in_handler(&service, "/never").await;
    // Clients that send half a body, do not read, or keep a connection open.
    let half = "POST /upload HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nhalf";
    let mut half = Conversation::begin(address, half).await.unwrap();
    let mut unread = Conversation::open_narrow(address, 4096).await.unwrap();
    let big = "GET /big?bytes=100000000 HTTP/1.1\r\nhost: here\r\n\r\n";
    unread.write(big).await.unwrap();
    assert_eq!(unread.head().await.unwrap().status, 200);
    let mut sockets = Vec::new();
    for path in ["/ws", "/ws-deaf"] {
        sockets.push(WebSocket::open(address, path).await.unwrap());
    }
    let http2 = Http2::connect(address).await.unwrap();
    let log = service.log().from_now();
    let stream = tokio::spawn(async move { http2.get("/never").await });
    log.event("never begun").await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(3), "{exit}");
    assert!(exit.took >= Duration::from_secs(1), "took {:?}", exit.took);
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    let routes = ["/never ×3", "/upload", "/big", "/ws;", "/ws-deaf"];
    for part in routes.into_iter().chain(["7 http connections", "faulty"]) {
        assert!(abandoned(&exit).contains(part), "{part}: {exit}");
    }
    let stopped = exit.event("stopped").unwrap();
    assert_eq!(stopped.field("outcome"), "abandoned", "{exit}");
    // The destructor of the aborted task.
    assert!(exit.event("released").is_some(), "{exit}");
    for request in [first, second] {
        let failure = request.await.unwrap().unwrap_err();
        let kind = failure.kind;
        assert!(matches!(kind, Kind::Closed | Kind::Reset), "{failure}");
    }
    stream.await.unwrap().unwrap_err();
    half.closed().await.unwrap();
    for client in &mut sockets {
        client.closed().await.unwrap();
    }
}

#[tokio::test]
async fn log_names_what_the_stop_waits_for() {
    let launch = faulty()
        .set("shutdown.delay", "6s")
        .set("shutdown.drain", "6s");
    let service = launch.ready().await;
    let _unanswered = in_handler(&service, "/never").await;

    service.signal(Signal::TERM);

    for (phase, awaited) in [("delay", ""), ("drain", "/never")] {
        let is_meant = |event: &Event| event.message == "waiting" && event.field("phase") == phase;
        let event = service.wait_for(phase, is_meant).await;
        assert!(!event.field("left").is_null(), "{event}");
        assert!(event.field("for").to_string().contains(awaited), "{event}");
    }
    assert_eq!(service.exit().await.code, Some(3));
}
