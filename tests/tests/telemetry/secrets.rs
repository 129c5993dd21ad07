//! Secrets and client input are not exported.

use harness::fleet;
use harness::http::{self, Request};
use harness::service::{Launch, Service};

use crate::collector::Collector;
use crate::{PARENT, TRACE, traced};

const SECRET: &str = "canary";

#[tokio::test]
async fn no_secret_reaches_the_collector_but_its_own_key() {
    let collector = Collector::start().await.unwrap();
    let launch = traced(&collector.endpoint())
        .file("headers", "x-api-key=for-the-collector\n")
        .env("APP__OTLP__HEADERS_FILE", "headers")
        .file("token", "canary-token\n")
        .env("APP__OPERATOR__TOKEN_FILE", "token")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://canary.invalid")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-other=canary")
        .set("database.url", "sqlite:canary.db")
        .set("log.filter", "trace");
    let service = launch.ready().await;
    let address = service.http().await;
    for request in [
        Request::get("/guests?token=canary"),
        Request::get("/canary"),
        Request::get("/call/canary"),
        Request::get("/broken"),
        Request::post("/v1/hello/canary"),
    ] {
        let request = request
            .header("traceparent", &format!("00-{TRACE}-{PARENT}-01"))
            .header("authorization", "Bearer canary")
            .header("cookie", "session=canary")
            .header("user-agent", "canary");
        http::send(address, request).await.unwrap();
    }

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    let heard = collector.heard();
    for name in [
        "POST /v1/hello/{name}",
        "sqlite svc-faults/src/hello.rs",
        "GET unmatched",
        "GET /broken",
    ] {
        let is_there = heard.spans.iter().any(|span| span.name == name);
        assert!(is_there, "{name} is not in {:#?}", heard.spans);
    }
    let said = String::from_utf8_lossy(&heard.bytes);
    assert!(!said.contains(SECRET), "{said}");
    assert_eq!(heard.headers["x-api-key"], "for-the-collector");
    // The key of the collector is not logged either.
    for event in &exit.events {
        let text = format!("{event:?}");
        assert!(!text.contains("for-the-collector"), "{event}");
    }
}

#[tokio::test]
async fn a_refused_url_is_never_printed() {
    for command in ["config check", "config print", "serve"] {
        for (variable, url) in [
            ("APP__OTLP__ENDPOINT", "http://user:canary@localhost:4318"),
            ("APP__OTLP__ENDPOINT", "http://localhost:4318/?key=canary"),
            ("APP__DATABASE__URL", "mysql://user:canary@localhost/db"),
            ("APP__HTTP__TRUSTED_PROXIES", "http://u:canary@localhost"),
        ] {
            let service = Service::of(fleet::FAULTS.binary()).env(variable, url);
            let launch = command.split(' ').fold(service, Launch::arg);
            let ran = launch.run().await.unwrap();
            let printed = format!("{}{}", ran.stdout, ran.stderr);
            assert_eq!(ran.code, Some(1), "{command}: {printed}");
            assert!(!printed.contains(SECRET), "{command}: {printed}");
        }
    }
}
