//! Bodies of requests: their limits, and the permits of those that arrive slowly.

use std::convert::Infallible;

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::*;

/// A body of these chunks, without a declared length.
pub(super) fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
}

#[tokio::test]
async fn body_limit_holds_for_every_reader() {
    let routes = around_routes(&[]);
    let half = || Bytes::from_static(&[b' '; LIMIT / 2]);
    let fits = post_json(&routes, "/raw", pieces(vec![half(), half()])).await;
    assert_eq!((fits.status, &*fits.body), (200, "64"));
    for path in ["/raw", "/number", "/stream"] {
        let body = pieces(vec![half(), half(), Bytes::from_static(b"7")]);
        let answer = post_json(&routes, path, body).await;
        assert_eq!(outcome(&answer), "413 body_too_large", "{path}");
    }
}

#[tokio::test]
async fn unknown_content_encoding_is_refused_by_name() {
    let is_gzip_known = cfg!(feature = "gzip");
    let known = if is_gzip_known { "gzip" } else { "identity" };
    for (path, encoding, known) in [
        ("/number", "br", known),
        ("/number", "gzip, gzip", known),
        ("/stream", "gzip", "identity"),
    ] {
        let request = request("POST", path).header("content-encoding", encoding);
        let answer = send(&around_routes(&[]), request, "7").await;
        assert_eq!(outcome(&answer), "415 unsupported_media_type");
        assert_eq!(answer.header("accept-encoding"), Some(known), "{encoding}");
        let fault = &answer.json()["errors"][0];
        assert_eq!(fault["header"], "content-encoding");
        assert!(fault["detail"].as_str().unwrap().contains(encoding));
    }
}

#[tokio::test(start_paused = true)]
async fn missing_body_is_a_408_and_a_slow_handler_a_504() {
    let routes = around_routes(&[]);
    let begun = stream::iter([Ok::<_, Infallible>("[1,")]);
    let never = Body::from_stream(begun.chain(stream::pending()));
    let answer = post_json(&routes, "/number", never).await;
    assert_eq!(outcome(&answer), "408 request_timeout");
    let answer = post_json(&routes, "/slow", "7").await;
    assert_eq!(outcome(&answer), "504 timeout");
}

/// A body whose chunks arrive when the sender sends them.
fn to_come() -> (mpsc::Sender<String>, Body) {
    let (sender, receiver) = mpsc::channel(9);
    let pieces = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<String>| {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    (sender, Body::from_stream(pieces))
}

/// One permit, for which one request may wait.
fn with_one_permit() -> Router {
    around_routes(&["http.max_in_flight=1", "http.max_waiting=1"])
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_hold_no_permit() {
    let routes = with_one_permit();
    let (mut clients, mut waiting) = (Vec::new(), tokio::task::JoinSet::new());
    // Together, they fit the budget.
    for _ in 0..LIMIT / 4 {
        let (client, body) = to_come();
        client.send("1".into()).await.unwrap();
        clients.push(client);
        let routes = routes.clone();
        waiting.spawn(async move { post_json(&routes, "/number", body).await });
    }
    for _ in 0..10 {
        sleep(Duration::from_millis(10)).await;
        let other = post_json(&routes, "/number", "7").await;
        assert_eq!((other.status, &*other.body), (200, "7"));
    }
    for client in clients {
        client.send("2".into()).await.unwrap();
    }
    for answer in waiting.join_all().await {
        assert_eq!((answer.status, &*answer.body), (200, "12"));
    }
}

#[tokio::test(start_paused = true)]
async fn complete_body_without_a_permit_gets_503() {
    for path in ["/number", "/raw"] {
        let routes = with_one_permit();
        let (client, body) = to_come();
        let rest = async {
            sleep(Duration::from_millis(800)).await;
            client.send("12".into()).await.unwrap();
            drop(client);
        };
        let busy = async {
            sleep(Duration::from_millis(500)).await;
            post_json(&routes, "/slow", "").await
        };
        let began = Instant::now();
        let late = post_json(&routes, path, body).map(|answer| (answer, began.elapsed()));
        let ((answer, took), _, ()) = tokio::join!(late, busy, rest);
        assert_eq!(outcome(&answer), "503 overloaded");
        assert!(answer.header("retry-after").is_some());
        assert_eq!(took, Duration::from_secs(1), "no longer than its deadline");
        // All permits and the whole budget are free again.
        for _ in 0..3 {
            let next = post_json(&routes, "/number", "7").await;
            assert_eq!(next.status, 200, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn request_with_a_body_holds_a_permit_while_it_runs() {
    let routes = with_one_permit();
    let other = async {
        sleep(Duration::from_millis(10)).await;
        post_json(&routes, "/number", "7").await
    };
    let (first, second) = tokio::join!(post_json(&routes, "/thorough", "7"), other);
    assert_eq!((first.status, &*first.body), (200, "1"));
    assert_eq!(outcome(&second), "503 overloaded");
}

#[tokio::test(start_paused = true)]
async fn exhausted_budget_of_all_bodies_gets_503() {
    let routes = with_one_permit();
    let (client, body) = to_come();
    client.send("7".repeat(LIMIT * 3 / 4)).await.unwrap();
    let others = async {
        sleep(Duration::from_millis(10)).await;
        let large = post_json(&routes, "/raw", "7".repeat(LIMIT / 2)).await;
        let small = post_json(&routes, "/number", "7").await;
        drop(client);
        (large, small)
    };
    let (first, (large, small)) = tokio::join!(post_json(&routes, "/raw", body), others);
    assert_eq!((first.status, &*first.body), (200, "48"));
    assert_eq!(outcome(&large), "503 overloaded");
    assert_eq!(small.status, 200);
}

#[tokio::test(start_paused = true)]
async fn streamed_body_holds_a_permit_while_it_arrives() {
    let routes = with_one_permit();
    let (client, body) = to_come();
    client.send("1".into()).await.unwrap();
    let other = async {
        sleep(Duration::from_millis(10)).await;
        let other = post_json(&routes, "/number", "7").await;
        client.send("2".into()).await.unwrap();
        drop(client);
        other
    };
    let (streamed, other) = tokio::join!(post_json(&routes, "/stream", body), other);
    assert_eq!((streamed.status, &*streamed.body), (200, "12"));
    assert_eq!(outcome(&other), "503 overloaded");
    assert_eq!(post_json(&routes, "/number", "7").await.status, 200);
}
