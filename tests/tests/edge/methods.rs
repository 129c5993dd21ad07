//! Methods: answers to `HEAD`, `OPTIONS`, and methods that a route does not have.

use harness::http::Conversation;

use crate::heads::is_refused_as;
use crate::{faulty, said};

#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let service = faulty().ready().await;
    let mut client = Conversation::open(service.http().await).await.unwrap();
    for (path, status) in [
        ("/slow?ms=0", 200),
        ("/nothing", 404),
        ("/upload", 405),
        ("/livez", 200),
    ] {
        let ask = |method: &str| format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        client.write(ask("HEAD")).await.unwrap();
        let head = client.head().await.unwrap();
        // A body of HEAD would be read as the start of this answer.
        client.write(ask("GET")).await.unwrap();
        let got = client.answer().await.unwrap();
        assert_eq!((head.status, got.status), (status, status), "{path}");
        let methods = (path == "/upload").then_some("POST");
        assert_eq!(got.header("allow"), methods, "{path}: {got}");
        for name in ["allow", "content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), got.header(name), "{path}: {name}");
        }
    }
}

#[tokio::test]
async fn method_not_allowed_names_the_allowed_methods() {
    let service = faulty().ready().await;
    let (public, operators) = (service.http().await, service.operator().await);
    for (address, method, path, methods) in [
        (public, "PUT", "/upload", "POST"),
        (public, "DELETE", "/slow?ms=0", "GET,HEAD"),
        (public, "TRACE", "/slow?ms=0", "GET,HEAD"),
        (public, "OPTIONS", "/slow?ms=0", "GET,HEAD"),
        (public, "BREW", "/slow?ms=0", "GET,HEAD"),
        (public, "POST", "/readyz", "GET,HEAD"),
        (operators, "POST", "/readyz", "GET,HEAD"),
        (operators, "DELETE", "/metrics", "GET,HEAD"),
        (operators, "OPTIONS", "/metrics", "GET,HEAD"),
        (operators, "GET", "/api/stop", "POST"),
        (operators, "DELETE", "/api/log-filter", "GET,HEAD,PUT"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer = said(address, &request).await;
        assert_eq!(answer.status, 405, "{request}: {answer}");
        assert_eq!(answer.header("allow"), Some(methods), "{request}: {answer}");
        is_refused_as(&answer, "method_not_allowed");
    }
}
