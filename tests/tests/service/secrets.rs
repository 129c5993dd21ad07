//! A secret is used, and shown nowhere.

use std::fs;

use keelson::http::{self, Request};

use crate::service;

const SECRET: &str = "canary-3f1c";

#[tokio::test]
async fn the_operators_token_opens_the_api_and_appears_nowhere() {
    let running = service()
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
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer canary",
        "Basic canary-3f1c",
        "canary-3f1c",
    ] {
        let request = Request::get("/api/state").header("authorization", wrong);
        assert_eq!(
            http::send(operator, request).await.unwrap().status,
            401,
            "{wrong:?}"
        );
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
async fn a_secret_on_the_command_line_is_refused() {
    let token = format!("operator.token={SECRET}");
    let output = service().arg("--set").arg(token).run().await.unwrap();

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
async fn a_listener_that_others_can_reach_needs_a_token() {
    let output = service()
        .arg("config")
        .arg("check")
        .set("operator.listen", "0.0.0.0:9090")
        .run()
        .await
        .unwrap();

    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("needs a token"), "{}", output.stderr);
}
