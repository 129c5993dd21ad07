//! The four other shapes of `app.rs` in docs/compose.md: each diff applies to a new service,
//! compiles, runs, and shuts down in order. They are members of the fleet.

use std::net::SocketAddr;

use harness::fleet::{self, Member};
use harness::http::get;
use harness::log::Event;
use harness::postgres::Postgres;
use harness::service::{Exit, Launch, Service, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn launch(shape: Member) -> Launch {
    Service::of(shape.binary())
}

async fn ready(launch: Launch) -> Service {
    launch.start().await.unwrap().ready().await
}

#[tokio::test]
async fn two_listeners_serve_and_drain() {
    let service = ready(launch(fleet::TWO_LISTENERS)).await;
    let is_second = |event: &Event| *event.field("listener") == "internal";
    let listening = service.log().wait_for("the second listener", is_second);
    let internal = listening.await.field("address").clone();
    let internal: SocketAddr = internal.as_str().unwrap().parse().unwrap();
    for address in [service.http().await, internal] {
        let greeted = harness::http::send(address, harness::http::Request::post("/v1/hello/Ada"));
        assert_eq!(greeted.await.unwrap().status, 200, "{address}");
    }
    is_clean(&service.stop().await);
}

#[tokio::test]
async fn service_without_a_database_starts_and_stops() {
    let service = ready(launch(fleet::NO_DATABASE)).await;
    let greeted = get(service.http().await, "/v1/hello/Ada").await.unwrap();
    assert_eq!((greeted.status, greeted.text()), (200, "Hello, Ada"));
    let state = service.ask("/api/state").await;
    assert!(state.json()["database"].is_null(), "{state}");
    is_clean(&service.stop().await);

    let migrated = launch(fleet::NO_DATABASE).arg("migrate").run().await;
    assert_eq!(migrated.unwrap().stdout, "this service has no database\n");
}

#[tokio::test]
async fn two_databases_are_checked_and_closed() {
    let postgres = Postgres::start().await.unwrap();
    let launch = launch(fleet::TWO_DATABASES).set("archive.url", postgres.url("postgres"));
    let service = ready(launch).await;
    let checks = service.ask("/readyz?verbose").await;
    for check in ["database", "archive"] {
        assert!(checks.text().contains(check), "{checks}");
    }
    let state = service.ask("/api/state").await;
    for pool in ["readers", "writer", "archive.connections"] {
        assert!(state.json()["database"][pool].is_object(), "{state}");
    }
    is_clean(&service.stop().await);
}

#[tokio::test]
async fn server_of_another_protocol_drains() {
    let service = ready(launch(fleet::ECHO_SERVER).set("shutdown.drain", "10s")).await;
    let listening = service.log().event("the echo server listens").await;
    let address = listening.field("address").as_str().unwrap().to_owned();
    let mut client = TcpStream::connect(&address).await.unwrap();
    client.write_all(b"before").await.unwrap();
    let mut echoed = [0; 6];
    client.read_exact(&mut echoed).await.unwrap();

    service.signal(Signal::TERM);
    service.event("draining").await;
    // Open connections are served until their clients close them.
    client.write_all(b"during").await.unwrap();
    client.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"during");
    drop(client);

    is_clean(&service.exit().await);
}

fn is_clean(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit}");
    let stopped = exit.event("stopped").unwrap();
    assert_eq!(stopped.field("outcome"), "clean", "{exit}");
}
