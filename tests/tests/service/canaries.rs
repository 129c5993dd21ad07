//! A service with a canary in secrets of every kind and a verbose log: no canary appears in any
//! output.

use std::fs;
use std::path::PathBuf;

use harness::fleet;
use harness::http::{self, Answer, Request};
use harness::postgres::Postgres;
use harness::service::{Launch, Service};
use serde_json::json;

/// The text that each secret contains.
const CANARY: &str = "canary";

const TOKEN: &str = "canary-of-the-operator";

/// The faulty service (`tests/faults`) with an operator token and the most verbose log.
fn faulty(binary: PathBuf) -> Launch {
    Service::of(binary)
        .file("token", TOKEN)
        .env("APP__OPERATOR__TOKEN_FILE", "token")
        .set("log.filter", "trace")
        .set("http.http2", true)
}

/// Adds a secret wherever a client can put one.
fn with_secrets(request: Request) -> Request {
    request
        .header("authorization", "Bearer canary-of-a-client")
        .header("cookie", "session=canary-in-a-cookie")
        .header("x-api-key", "canary-in-a-header")
        .json(&json!({ "password": "canary-in-a-body" }))
}

/// Sends requests that fail, and reads every page of the operator; stops the service, and searches
/// all output for a canary. The handler at `failing` sends a value to the database that it refuses,
/// with that status.
async fn assert_no_canary(service: Service, failing: &str, status: u16) {
    let (address, operator) = (service.http().await, service.operator().await);
    let mut answers = Vec::new();
    let mut record = |what: &str, status: u16, answer: Answer| {
        assert_eq!(answer.status, status, "{what}: {answer}");
        answers.push(answer);
    };
    for (request, status) in [
        (Request::post("/panic?token=canary"), 500),
        (Request::get("/panic?token=canary"), 500),
        (Request::get(&format!("{failing}?value=canary")), status),
        (Request::get("/canary?token=canary"), 404),
        (Request::put("/panic?token=canary"), 405),
        (Request::get("/slow?ms=canary"), 400),
    ] {
        let what = format!("{request:?}");
        let answer = http::send(address, with_secrets(request)).await.unwrap();
        record(&what, status, answer);
    }
    for header in ["Bearer canary-of-a-guess", "Basic canary-of-the-operator"] {
        let request = Request::get("/api/state").header("authorization", header);
        record(header, 401, http::send(operator, request).await.unwrap());
    }
    for (path, status) in [
        ("/metrics", 200),
        ("/api/state", 200),
        ("/api/log-filter", 200),
        ("/api/canary", 404),
        ("/readyz?verbose", 200),
    ] {
        let request = Request::get(path).header("authorization", &format!("Bearer {TOKEN}"));
        record(path, status, http::send(operator, request).await.unwrap());
    }
    for answer in answers {
        // Including the headers.
        let whole = format!("{:?} {}", answer.headers, answer.text());
        assert!(!whole.contains(CANARY), "{answer}");
    }

    let process = format!("/proc/{}", service.pid());
    for list in ["cmdline", "environ", "comm"] {
        let content = fs::read_to_string(format!("{process}/{list}")).unwrap();
        assert!(!content.contains(CANARY), "{list}: {content}");
    }
    let log = service.log().clone();
    let exit = service.stop().await;
    assert_eq!(exit.code, Some(0), "{exit}");
    for level in ["DEBUG", "ERROR"] {
        let is_there = exit.events.iter().any(|event| event.level == level);
        assert!(is_there, "no event at {level}: {exit}");
    }
    let panics = exit.events.iter();
    let panics = panics.filter(|event| event.message == "panicked");
    assert_eq!(panics.count(), 2, "{exit}");
    for event in &exit.events {
        assert!(!format!("{event:?}").contains(CANARY), "{event}");
    }
    assert!(log.strays().is_empty(), "{:?}", log.strays());
    assert!(!exit.stderr.contains(CANARY), "{}", exit.stderr);
}

#[tokio::test]
async fn secrets_of_clients_and_operators_are_never_shown() {
    let service = faulty(fleet::FAULTS.binary())
        .start()
        .await
        .unwrap()
        .ready()
        .await;
    assert_no_canary(service, "/pick", 500).await;
}

#[tokio::test]
async fn database_password_is_never_shown() {
    let postgres = Postgres::options().password("canary-of-the-database");
    let postgres = postgres.start().await.unwrap();
    let launch = faulty(fleet::FAULTS_ON_POSTGRES.binary())
        .file("url", postgres.url("postgres"))
        .env("APP__DATABASE__URL_FILE", "url");
    let service = launch.start().await.unwrap().ready().await;
    assert_no_canary(service, "/cast", 422).await;
}

#[tokio::test]
async fn password_in_a_url_on_the_command_line_is_refused() {
    let launch = Service::of(fleet::FAULTS_ON_POSTGRES.binary());
    for command in ["serve", "migrate"] {
        let launch = launch.clone().arg(command);
        let url = "postgres://somebody:canary-of-the-database@127.0.0.1:1/nowhere";
        let output = launch.set("database.url", url).run().await.unwrap();
        assert_eq!(output.code, Some(1), "{command}: {}", output.stderr);
        let cure = "set APP__DATABASE__URL_FILE instead";
        assert!(output.stderr.contains(cure), "{}", output.stderr);
        for said in [output.stderr, output.stdout] {
            assert!(!said.contains(CANARY), "{said}");
        }
    }
    // Without a password, there is nothing to redact.
    let check = launch.arg("config").arg("check");
    let check = check.set("database.url", "postgres://somebody@127.0.0.1:1/nowhere");
    let output = check.run().await.unwrap();
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}
