//! Clients that send half a request or nothing, or do not read, when the service stops.

use std::time::Duration;

use harness::http::{Conversation, Http1};
use harness::service::{Launch, Signal};

use crate::{AT_ONCE, abandoned, clean, faulty, get, in_handler, running};

/// Connects clients, and waits until they are accepted: a later connection has been served.
async fn clients_of(
    service: &harness::service::Service,
    said: &[&'static str],
) -> Vec<(&'static str, Conversation)> {
    let mut clients = Vec::new();
    for said in said {
        let mut client = Conversation::open(service.http().await).await.unwrap();
        client.write(said).await.unwrap();
        clients.push((*said, client));
    }
    get(service, "/livez").await;
    clients
}

async fn leave_at_once(launch: Launch, said: &[&'static str]) {
    let service = running(launch).await;
    let clients = clients_of(&service, said).await;

    service.signal(Signal::TERM);

    for (said, mut client) in clients {
        let farewell = client.within(AT_ONCE).closed().await;
        farewell.unwrap_or_else(|failure| panic!("{said:?}: {failure}"));
    }
    let exit = service.exit().await;
    clean(&exit);
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn drain_closes_half_open_connections() {
    let said = [
        "",
        "G",
        "GET /livez HTTP/1.1\r\n",
        "GET /livez HTTP/1.1\r\nhost: here\r\nx-half: ",
    ];
    leave_at_once(faulty(), &said).await;
}

#[tokio::test]
async fn drain_closes_half_open_connections_with_http2() {
    let said = [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /livez HTTP/1.1\r\n",
    ];
    leave_at_once(faulty().set("http.http2", true), &said).await;
}

#[tokio::test]
async fn drain_closes_idle_connections_while_others_finish() {
    let service = running(faulty()).await;
    let mut idle = Http1::connect(service.http().await).await.unwrap();
    idle.get("/livez").await.unwrap();
    let mut half = Conversation::open(service.http().await).await.unwrap();
    half.write("GET /livez HTTP/1.1\r\nhost: here\r\n\r\nGET /li")
        .await
        .unwrap();
    half.answer().await.unwrap();
    let request = in_handler(&service, "/slow?ms=4000").await;

    service.signal(Signal::TERM);

    idle.closed().await.unwrap();
    half.closed().await.unwrap();
    assert!(!request.is_finished(), "they waited for the other request");
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    clean(&service.exit().await);
}

#[tokio::test]
async fn drain_waits_for_half_a_body_until_the_deadline() {
    let launch = faulty().set("shutdown.drain", "1s");
    let service = running(launch).await;
    let said = ["POST /upload HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nhalf"];
    let mut clients = clients_of(&service, &said).await;

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(3), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    for part in ["1 http connection", "/upload"] {
        assert!(abandoned(&exit).contains(part), "{part}: {exit}");
    }
    clients[0].1.closed().await.unwrap();
}

#[tokio::test]
async fn request_cut_by_the_stop_is_logged_as_503() {
    const EACH: usize = 20;
    let launch = faulty().set("shutdown.drain", "500ms");
    let service = running(launch).await;
    let half = "POST /raw HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nhalf";
    let never = "GET /never HTTP/1.1\r\nhost: here\r\n\r\n";
    let said = [[half; EACH], [never; EACH]].concat();
    let _clients = clients_of(&service, &said).await;

    let exit = service.stop().await;

    for route in ["/raw", "/never"] {
        let statuses = exit.events.iter();
        let statuses =
            statuses.filter(|event| event.message == "request" && event.field("route") == route);
        let statuses: Vec<_> = statuses
            .map(|event| event.field("status").clone())
            .collect();
        assert_eq!(statuses, vec![503; EACH], "{route}: {exit}");
    }
}

#[tokio::test]
async fn rest_of_a_body_may_arrive_during_the_drain() {
    let service = running(faulty()).await;
    let said = ["POST /upload HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nhalf,"];
    let mut clients = clients_of(&service, &said).await;
    let client = &mut clients[0].1;

    service.signal(Signal::TERM);
    service.event("draining").await;
    client.write(" half").await.unwrap();

    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "10"), "{answer}");
    clean(&service.exit().await);
}

#[tokio::test]
async fn drain_cuts_a_client_that_does_not_read() {
    let launch = faulty().set("shutdown.drain", "1s");
    let service = running(launch).await;
    let address = service.http().await;
    let mut client = Conversation::open_narrow(address, 4096).await.unwrap();
    client
        .write("GET /big?bytes=100000000 HTTP/1.1\r\nhost: here\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.head().await.unwrap().status, 200);

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(3), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    for part in ["1 http connection", "/big"] {
        assert!(abandoned(&exit).contains(part), "{part}: {exit}");
    }
}

#[tokio::test]
async fn drain_ignores_a_client_that_left() {
    let service = running(faulty()).await;
    let mut client = Conversation::open(service.http().await).await.unwrap();
    client
        .write("GET /never HTTP/1.1\r\nhost: here\r\n\r\n")
        .await
        .unwrap();
    service.event("never begun").await;
    service.signal(Signal::TERM);
    service.event("draining").await;

    client.abort();

    let exit = service.exit().await;
    clean(&exit);
    assert!(exit.took < Duration::from_secs(10), "took {:?}", exit.took);
}
