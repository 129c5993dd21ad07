//! CORS, where pages of another origin may read answers.

use super::*;

const FRIEND: &str = "https://app.example.org";

/// Sends a request with this origin, if there is one.
async fn sent_by(origin: Option<&str>, method: &str, path: &str) -> Answer {
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
            let answer = sent_by(origin, method, path).await;
            let mut vary = answer.headers.get_all("vary").iter();
            let by_origin = vary.any(|names| {
                let names = names.to_str().unwrap().split(',');
                names.map(str::trim).any(|name| name == "origin")
            });
            assert!(by_origin, "{origin:?} {method} {path}");
        }
    }
    // Without allowed origins, no answer varies.
    let text = request("GET", "/text").body(Body::empty()).unwrap();
    let answer = send(around_routes(&[]), text).await;
    assert!(!answer.headers.contains_key("vary"));
}

#[tokio::test]
async fn answer_to_a_panic_is_shared_as_any_other() {
    let answer = sent_by(Some(FRIEND), "POST", "/panic").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert_eq!(answer.headers["access-control-allow-origin"], FRIEND);
    let exposed = &answer.headers["access-control-expose-headers"];
    for name in ["x-request-id", "idempotent-replayed"] {
        assert!(exposed.to_str().unwrap().contains(name), "{name}");
    }
}
