//! Clients that send half a request or nothing, or use HTTP/2, when the service stops.

use std::time::Duration;

use harness::http::{Conversation, Http1, Http2};
use harness::service::{Service, Signal};

use crate::{AT_ONCE, begin, clean, faulty, get, in_handler};

/// Connects clients, and waits until they are accepted: a later connection has been served.
async fn clients_of(service: &Service, said: &[&'static str]) -> Vec<(&'static str, Conversation)> {
    let mut clients = Vec::new();
    for said in said {
        let client = Conversation::begin(service.http().await, said).await;
        clients.push((*said, client.unwrap()));
    }
    get(service, "/livez").await;
    clients
}

#[tokio::test]
async fn drain_closes_half_open_connections() {
    for http2 in [false, true] {
        let service = faulty().set("http.http2", http2).ready().await;
        let half = "GET /livez HTTP/1.1\r\nhost: here\r\nx-half: ";
        let mut said = vec!["", "G", "GET /livez HTTP/1.1\r\n", half];
        if http2 {
            let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
            said.extend(["P", "PRI * HTTP/2.0\r\n", preface]);
        }
        let clients = clients_of(&service, &said).await;

        service.signal(Signal::TERM);

        for (said, mut client) in clients {
            let farewell = client.within(AT_ONCE).closed().await;
            farewell.unwrap_or_else(|failure| panic!("{said:?}: {failure}"));
        }
        let exit = service.exit().await;
        clean(&exit);
        assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
    }
}

#[tokio::test]
async fn drain_closes_idle_connections_while_others_finish() {
    let service = faulty().ready().await;
    let address = service.http().await;
    let mut idle = Http1::connect(address).await.unwrap();
    idle.get("/livez").await.unwrap();
    let said = "GET /livez HTTP/1.1\r\nhost: here\r\n\r\nGET /li";
    let mut half = Conversation::begin(address, said).await.unwrap();
    half.answer().await.unwrap();
    let said = "POST /upload HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nhalf,";
    let mut upload = Conversation::begin(address, said).await.unwrap();
    let leaving = begin(&service, "/never").await;
    service.event("never begun").await;
    let request = in_handler(&service, "/slow?ms=4000").await;

    service.signal(Signal::TERM);
    service.event("draining").await;
    // The rest of a body may arrive during the drain, and a client may leave.
    upload.write(" half").await.unwrap();
    leaving.abort();

    let answer = upload.answer().await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "10"), "{answer}");
    idle.closed().await.unwrap();
    half.closed().await.unwrap();
    assert!(!request.is_finished(), "they waited for the other request");
    assert_eq!(request.await.unwrap().unwrap().status, 200);
    let exit = service.exit().await;
    clean(&exit);
    assert!(exit.took < Duration::from_secs(10), "took {:?}", exit.took);
}

#[tokio::test]
async fn request_cut_by_the_stop_is_logged_as_503() {
    const EACH: usize = 20;
    let service = faulty().set("shutdown.drain", "500ms").ready().await;
    let half = "POST /raw HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nhalf";
    let never = "GET /never HTTP/1.1\r\nhost: here\r\n\r\n";
    let said = [[half; EACH], [never; EACH]].concat();
    let _clients = clients_of(&service, &said).await;

    let exit = service.stop().await;

    for route in ["/raw", "/never"] {
        let requests = exit
            .events
            .iter()
            .filter(|event| event.message == "request");
        let requests = requests.filter(|event| event.field("route") == route);
        let statuses: Vec<_> = requests.map(|event| event.field("status")).collect();
        assert_eq!(statuses, vec![503; EACH], "{route}: {exit}");
    }
}

#[tokio::test]
async fn stream_completes_after_goaway() {
    let service = faulty().set("http.http2", true).ready().await;
    let idle = Http2::connect(service.http().await).await.unwrap();
    assert_eq!(idle.get("/livez").await.unwrap().status, 200);
    let client = Http2::connect(service.http().await).await.unwrap();
    let asked = client.clone();
    let request = tokio::spawn(async move { asked.get("/slow?ms=4000").await });
    service.event("slow begun").await;

    service.signal(Signal::TERM);

    idle.closed().await.unwrap();
    assert!(
        !request.is_finished(),
        "a connection without streams waited"
    );
    let answer = request.await.unwrap().unwrap();
    assert_eq!((answer.status, answer.text()), (200, "done"), "{answer}");
    client.closed().await.unwrap();
    clean(&service.exit().await);
}
