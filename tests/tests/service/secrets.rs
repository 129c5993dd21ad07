//! Secrets are used, and appear in no output.

use std::fs;

use harness::http::{self, Conversation, Request};
use serde_json::json;

use crate::{hello, monitor};

const SECRET: &str = "canary-3f1c";

#[tokio::test]
async fn operator_token_opens_the_api_and_is_never_shown() {
    let running = hello()
        .file("token", format!("{SECRET}\n"))
        .env("APP__OPERATOR__TOKEN_FILE", "token")
        .set("log.filter", "trace")
        .start()
        .await
        .unwrap()
        .ready()
        .await;
    let operator = running.operator().await;

    let shut = http::get(operator, "/api/state").await.unwrap();
    assert_eq!(
        (shut.status, shut.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(shut.json()["code"], "unauthorized");
    assert!(!shut.to_string().contains(SECRET), "{shut}");
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer canary",
        "Basic canary-3f1c",
        "canary-3f1c",
    ] {
        let request = Request::get("/api/state").header("authorization", wrong);
        let refused = http::send(operator, request).await.unwrap();
        assert_eq!(refused.status, 401, "{wrong:?}");
        assert!(!refused.to_string().contains(SECRET), "{refused}");
    }
    assert_eq!(
        http::get(operator, "/readyz").await.unwrap().status,
        200,
        "probes have no token"
    );

    let request = Request::get("/api/state").header("authorization", &format!("Bearer {SECRET}"));
    let state = http::send(operator, request).await.unwrap();
    assert_eq!(
        (state.status, &state.json()["state"]),
        (200, &"ready".into())
    );
    assert!(state.text().contains("[redacted]"), "{state}");
    assert!(!state.text().contains(SECRET), "{state}");

    let process = format!("/proc/{}", running.pid());
    let command_line = fs::read_to_string(format!("{process}/cmdline")).unwrap();
    let environment = fs::read_to_string(format!("{process}/environ")).unwrap();
    assert!(!command_line.contains(SECRET) && !environment.contains(SECRET));
    let exit = running.stop().await;
    assert_eq!(exit.code, Some(0));
    for event in &exit.events {
        assert!(!format!("{event:?}").contains(SECRET), "{event:?}");
    }
    assert!(!exit.stderr.contains(SECRET), "{}", exit.stderr);
}

#[tokio::test]
async fn wrong_tokens_are_counted_and_rarely_logged() {
    const WRONG: usize = 20;
    let launch = hello().env("APP__OPERATOR__TOKEN", SECRET);
    let running = launch.start().await.unwrap().ready().await;
    let operator = running.operator().await;
    let ask = async move |path: &str, token: &str| {
        let request = Request::get(path).header("authorization", &format!("Bearer {token}"));
        http::send(operator, request).await.unwrap()
    };

    for _ in 0..WRONG {
        assert_eq!(ask("/api/state", "wrong").await.status, 401);
    }

    let metrics = ask("/metrics", SECRET).await;
    let counted = format!("operator_tokens_refused_total {WRONG}\n");
    assert!(metrics.text().contains(&counted), "{metrics}");
    let exit = running.stop().await;
    let logged = exit.events.iter();
    let logged = logged.filter(|event| event.message.starts_with("wrong token"));
    let logged: Vec<_> = logged.map(|event| event.field("refused").clone()).collect();
    assert_eq!(logged, [1, 2, 4, 8, 16], "{exit}");
}

#[tokio::test]
async fn client_data_is_not_logged() {
    let launch = monitor().set("log.filter", "trace").set("http.http2", true);
    let running = launch.start().await.unwrap().ready().await;
    let (address, operator) = (running.http().await, running.operator().await);
    let whole = json!({ "url": format!("https://example.org/{SECRET}") }).to_string();
    let unknown = json!({ "url": "https://example.org/", "extra": SECRET }).to_string();
    let bodies = [
        (201, whole.as_str()),
        (409, &whole),
        (422, &unknown),
        (422, r#"{"url":"canary-3f1c"}"#),
        (422, r#"{"url":["canary-3f1c"]}"#),
        (400, r#"{"url":"canary-3f1c"#),
        (400, "canary-3f1c"),
    ];
    let mut answers = Vec::new();
    for (status, body) in bodies {
        for path in ["/v1/targets", "/v1/targets?token=canary-3f1c"] {
            let request = Request::post(path)
                .header("authorization", &format!("Bearer {SECRET}"))
                .header("cookie", &format!("session={SECRET}"))
                .header("x-api-key", SECRET)
                .header("content-type", "application/json")
                .body(body.to_owned());
            let answer = http::send(address, request).await.unwrap();
            // The second time, the row exists already.
            let status = if answer.status == 409 { 409 } else { status };
            assert_eq!(answer.status, status, "{body}: {answer}");
            if status != 201 {
                answers.push(answer);
            }
        }
    }
    for path in ["/nowhere?token=canary-3f1c", "/v1/targets/canary-3f1c"] {
        answers.push(http::get(address, path).await.unwrap());
    }
    for path in ["/metrics", "/api/state"] {
        answers.push(http::get(operator, path).await.unwrap());
    }
    for answer in answers {
        assert!(!answer.text().contains(SECRET), "{answer}");
        assert!(!answer.to_string().contains(SECRET), "{answer}");
    }

    let exit = running.stop().await;
    assert!(
        exit.events.iter().any(|event| event.level == "DEBUG"),
        "{exit}"
    );
    for event in &exit.events {
        assert!(!format!("{event:?}").contains(SECRET), "{event:?}");
    }
    assert!(!exit.stderr.contains(SECRET), "{}", exit.stderr);
}

/// An HTTP/2 request for an invalid path, with a secret query.
fn invalid_path_request() -> Vec<u8> {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    /// `END_HEADERS` and `END_STREAM`.
    const ALL: u8 = 4 | 1;
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let path = format!("/v1/targets?token={SECRET} {SECRET}");
    let length = u8::try_from(path.len()).unwrap();
    // The HPACK encoding of `:method GET`, `:scheme http`, `:authority here`, and `:path`.
    let head = [
        b"\x82\x86\x41\x04here\x44" as &[_],
        &[length],
        path.as_bytes(),
    ]
    .concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, ALL, 1, &head),
    ]
    .concat()
}

#[tokio::test]
async fn library_errors_do_not_log_client_data() {
    /// `RST_STREAM` with the code `PROTOCOL_ERROR`.
    const RESET: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    for (filter, is_logged) in [("trace", false), ("debug,h2=debug", true)] {
        let launch = monitor().set("log.filter", filter).set("http.http2", true);
        let running = launch.start().await.unwrap().ready().await;
        let address = running.http().await;
        let mut client = Conversation::open(address).await.unwrap();
        client.write(invalid_path_request()).await.unwrap();
        client.until(RESET).await.unwrap();

        let exit = running.stop().await;

        let mut events = exit.events.iter().map(|event| format!("{event:?}"));
        // An explicit filter for a target may log secrets.
        let found = events.find(|event| event.contains(SECRET));
        assert_eq!(found.is_some(), is_logged, "{filter}: {found:?}");
        assert!(!exit.stderr.contains(SECRET), "{}", exit.stderr);
    }
}

#[tokio::test]
async fn secret_on_the_command_line_is_refused() {
    let token = format!("operator.token={SECRET}");
    let output = hello().arg("--set").arg(token).run().await.unwrap();

    assert_eq!(output.code, Some(1));
    assert!(
        output
            .stderr
            .contains("set APP__OPERATOR__TOKEN_FILE instead"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
}

#[tokio::test]
async fn public_operator_listener_needs_a_token() {
    let output = hello()
        .arg("config")
        .arg("check")
        .set("operator.listen", "0.0.0.0:9090")
        .run()
        .await
        .unwrap();

    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("needs a token"), "{}", output.stderr);
}
