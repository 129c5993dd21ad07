//! A service with a canary in secrets of every kind and a verbose log: secrets are used, and no
//! canary appears in any output.

use std::fs;
use std::path::PathBuf;

use harness::fleet;
use harness::http::{self, Conversation, Request};
use harness::postgres::Postgres;
use harness::service::{Exit, Launch, Service};
use serde_json::json;

use crate::{hello, monitor, run};

/// The text that each secret contains.
const CANARY: &str = "canary";

const TOKEN: &str = "canary-of-the-operator";

/// The faulty service (`tests/faults`) with an operator token and the most verbose log.
fn faulty(binary: PathBuf) -> Launch {
    Service::of(binary)
        .file("token", format!("{TOKEN}\n"))
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

fn with_token(path: &str, token: &str) -> Request {
    Request::get(path).header("authorization", token)
}

/// Asserts a clean stop with a verbose log, and no canary in it.
#[track_caller]
fn assert_no_canary_in(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit}");
    let is_verbose = exit.events.iter().any(|event| event.level == "DEBUG");
    assert!(is_verbose, "{exit}");
    for event in &exit.events {
        assert!(!format!("{event:?}").contains(CANARY), "{event}");
    }
    assert!(!exit.stderr.contains(CANARY), "{}", exit.stderr);
}

/// Sends requests that fail, and reads every page of the operator; stops the service, and searches
/// all output for a canary. The handler at `failing` sends a value to the database that it refuses,
/// with that status.
async fn assert_no_canary(service: Service, failing: &str, status: u16) {
    let (public, operator) = (service.http().await, service.operator().await);
    let failing = format!("{failing}?value=canary");
    let of_client = [
        (Request::post("/panic?token=canary"), 500),
        (Request::get("/panic?token=canary"), 500),
        (Request::get(&failing), status),
        (Request::get("/canary?token=canary"), 404),
        (Request::put("/panic?token=canary"), 405),
        (Request::get("/slow?ms=canary"), 400),
    ];
    let of_client = of_client.map(|(request, status)| (public, with_secrets(request), status));
    let mut requests = Vec::from(of_client);
    for wrong in [
        "",
        "Bearer canary-of-a-guess",
        "Basic canary-of-the-operator",
    ] {
        requests.push((operator, with_token("/api/state", wrong), 401));
    }
    requests.push((operator, Request::get("/api/state"), 401));
    for (path, status) in [
        ("/metrics", 200),
        ("/api/state", 200),
        ("/api/log-filter", 200),
        ("/api/canary", 404),
        ("/readyz?verbose", 200),
    ] {
        let request = with_token(path, &format!("Bearer {TOKEN}"));
        requests.push((operator, request, status));
    }
    // Probes need no token.
    requests.push((operator, Request::get("/readyz"), 200));
    for (address, request, status) in requests {
        let what = format!("{request:?}");
        let answer = http::send(address, request).await.unwrap();
        assert_eq!(answer.status, status, "{what}: {answer}");
        // Including the headers.
        let whole = format!("{:?} {}", answer.headers, answer.text());
        assert!(!whole.contains(CANARY), "{what}: {answer}");
        if status == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
            assert_eq!(answer.json()["code"], "unauthorized", "{what}");
        }
    }
    let request = with_token("/api/state", &format!("Bearer {TOKEN}"));
    let state = http::send(operator, request).await.unwrap();
    assert_eq!(state.json()["state"], "ready", "{state}");
    assert!(state.text().contains("[redacted]"), "{state}");

    let process = format!("/proc/{}", service.pid());
    for list in ["cmdline", "environ", "comm"] {
        let content = fs::read_to_string(format!("{process}/{list}")).unwrap();
        assert!(!content.contains(CANARY), "{list}: {content}");
    }
    let log = service.log().clone();
    let exit = service.stop().await;
    assert_no_canary_in(&exit);
    let panics = exit
        .events
        .iter()
        .filter(|event| event.message == "panicked");
    assert_eq!(panics.count(), 2, "{exit}");
    assert_eq!(log.strays(), [""; 0]);
}

#[tokio::test]
async fn secrets_of_clients_and_operators_are_never_shown() {
    let service = faulty(fleet::FAULTS.binary()).ready().await;
    assert_no_canary(service, "/pick", 500).await;
}

#[tokio::test]
async fn database_password_is_never_shown() {
    let postgres = Postgres::with_password("canary-of-the-database");
    let postgres = postgres.await.unwrap();
    let launch = faulty(fleet::FAULTS_ON_POSTGRES.binary())
        .file("url", postgres.url("postgres"))
        .env("APP__DATABASE__URL_FILE", "url");
    assert_no_canary(launch.ready().await, "/cast", 422).await;
}

#[tokio::test]
async fn secret_on_the_command_line_is_refused() {
    let on_postgres = || Service::of(fleet::FAULTS_ON_POSTGRES.binary());
    let url = "postgres://somebody:canary-of-the-database@127.0.0.1:1/nowhere";
    let with_url = on_postgres().set("database.url", url);
    let with_token = on_postgres().set("operator.token", TOKEN);
    for (launch, command, cure) in [
        (with_token, "serve", "set APP__OPERATOR__TOKEN_FILE instead"),
        (
            with_url.clone(),
            "serve",
            "set APP__DATABASE__URL_FILE instead",
        ),
        (with_url, "migrate", "set APP__DATABASE__URL_FILE instead"),
    ] {
        let output = run(launch, command).await;
        assert_eq!(output.code, Some(1), "{command}: {}", output.stderr);
        assert!(output.stderr.contains(cure), "{}", output.stderr);
        for said in [output.stderr, output.stdout] {
            assert!(!said.contains(CANARY), "{said}");
        }
    }
    // Without a password, there is nothing to redact.
    let without = on_postgres().set("database.url", "postgres://somebody@127.0.0.1:1/nowhere");
    let output = run(without, "config check").await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

#[tokio::test]
async fn wrong_tokens_are_counted_and_rarely_logged() {
    const WRONG: usize = 20;
    let launch = hello().env("APP__OPERATOR__TOKEN", TOKEN);
    let running = launch.ready().await;
    let operator = running.operator().await;
    let ask = async move |path: &str, token: &str| {
        let request = with_token(path, &format!("Bearer {token}"));
        http::send(operator, request).await.unwrap()
    };

    for _ in 0..WRONG {
        assert_eq!(ask("/api/state", "wrong").await.status, 401);
    }

    let metrics = ask("/metrics", TOKEN).await;
    let counted = format!("operator_tokens_refused_total {WRONG}\n");
    assert!(metrics.text().contains(&counted), "{metrics}");
    let exit = running.stop().await;
    let logged = exit.events.iter();
    let logged = logged.filter(|event| event.message.starts_with("wrong token"));
    let logged: Vec<_> = logged.map(|event| event.field("refused")).collect();
    assert_eq!(logged, [1, 2, 4, 8, 16], "{exit}");
}

#[tokio::test]
async fn client_data_is_not_logged() {
    let launch = monitor().set("log.filter", "trace").set("http.http2", true);
    let running = launch.ready().await;
    let address = running.http().await;
    let whole = json!({ "url": "https://example.org/canary" }).to_string();
    let unknown = json!({ "url": "https://example.org/", "extra": CANARY }).to_string();
    for (status, body) in [
        (201, whole.as_str()),
        (409, &whole),
        (422, &unknown),
        (422, r#"{"url":"canary"}"#),
        (422, r#"{"url":["canary"]}"#),
        (400, r#"{"url":"canary"#),
        (400, CANARY),
    ] {
        for path in ["/v1/targets", "/v1/targets?token=canary"] {
            let request = with_secrets(Request::post(path)).body(body.to_owned());
            let answer = http::send(address, request).await.unwrap();
            // The second time, the row exists already.
            let status = if answer.status == 409 { 409 } else { status };
            assert_eq!(answer.status, status, "{body}: {answer}");
            let shown = format!("{:?} {}", answer.headers, answer.text());
            assert!(status == 201 || !shown.contains(CANARY), "{answer}");
        }
    }
    for path in ["/nowhere?token=canary", "/v1/targets/canary"] {
        let answer = http::get(address, path).await.unwrap();
        let shown = format!("{:?} {}", answer.headers, answer.text());
        assert!(!shown.contains(CANARY), "{answer}");
    }
    assert_no_canary_in(&running.stop().await);
}

/// An HTTP/2 request for an invalid path, with a secret query.
fn invalid_path_request() -> Vec<u8> {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let path = format!("/v1/targets?token={CANARY} {CANARY}").into_bytes();
    // The HPACK encoding of `:method GET`, `:scheme http`, `:authority here`, and `:path`.
    let fields = b"\x82\x86\x41\x04here\x44".to_vec();
    let fields = [fields, vec![length(&path)], path].concat();
    // The head of stream 1, which is also its end.
    let headers = vec![0, 0, length(&fields), 1, 4 | 1, 0, 0, 0, 1];
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [preface, SETTINGS.to_vec(), headers, fields].concat()
}

#[tokio::test]
async fn library_errors_do_not_log_client_data() {
    /// `RST_STREAM` with the code `PROTOCOL_ERROR`.
    const RESET: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    for (filter, is_logged) in [("trace", false), ("debug,h2=debug", true)] {
        let launch = monitor().set("log.filter", filter).set("http.http2", true);
        let running = launch.ready().await;
        let address = running.http().await;
        let client = Conversation::begin(address, invalid_path_request()).await;
        client.unwrap().until(RESET).await.unwrap();

        let exit = running.stop().await;

        let mut events = exit.events.iter().map(|event| format!("{event:?}"));
        // An explicit filter for a target may log secrets.
        let found = events.find(|event| event.contains(CANARY));
        assert_eq!(found.is_some(), is_logged, "{filter}: {found:?}");
        assert!(!exit.stderr.contains(CANARY), "{}", exit.stderr);
    }
}
