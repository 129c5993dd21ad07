//! What caches and the pages of others are told, where those may read the answers.

use super::*;

const FRIEND: &str = "https://app.example.org";

/// Asks for this, as a page of such an origin does, or as whoever has none.
async fn asked_by(origin: Option<&str>, method: &str, path: &str) -> Answer {
    let routes = around_routes(&["http.allowed_origins=https://app.example.org"]);
    let mut request = request(method, path);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    send(routes, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_answer_varies_by_origin() {
    for origin in [None, Some(FRIEND), Some("https://evil.example")] {
        for (method, path) in [("GET", "/text"), ("GET", "/nothing"), ("OPTIONS", "/text")] {
            let answer = asked_by(origin, method, path).await;
            let mut told = answer.headers.get_all("vary").iter();
            let of_origin = told.any(|names| {
                let names = names.to_str().unwrap().split(',');
                names.map(str::trim).any(|name| name == "origin")
            });
            assert!(of_origin, "{origin:?} {method} {path}");
        }
    }
    // Where nobody else may read anything, they do not.
    let text = request("GET", "/text").body(Body::empty()).unwrap();
    let answer = send(around_routes(&[]), text).await;
    assert!(!answer.headers.contains_key("vary"));
}

#[tokio::test]
async fn a_panic_is_an_answer_that_pages_may_read_as_any_other() {
    let answer = asked_by(Some(FRIEND), "POST", "/panic").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert_eq!(answer.headers["access-control-allow-origin"], FRIEND);
    let shown = &answer.headers["access-control-expose-headers"];
    for name in ["x-request-id", "idempotent-replayed"] {
        assert!(shown.to_str().unwrap().contains(name), "{name}");
    }
}
