//! Bodies of requests: their limits, and the permits of those that arrive slowly.

use tokio::sync::mpsc;

use super::*;

/// A body of these chunks, without a declared length.
pub(super) fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
}

#[tokio::test]
async fn body_limit_holds_for_every_reader() {
    let half = || Bytes::from_static(&[b' '; LIMIT / 2]);
    let fits = posted("/raw", "text/plain", pieces(vec![half(), half()])).await;
    assert_eq!((fits.status, fits.text()), (200, "64"));
    for path in ["/raw", "/number", "/stream"] {
        let body = pieces(vec![half(), half(), Bytes::from_static(b"7")]);
        let answer = posted(path, "application/json", body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (413, "body_too_large"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn unknown_content_encoding_is_refused_by_name() {
    let known = if cfg!(feature = "gzip") {
        "gzip"
    } else {
        "identity"
    };
    for (path, encoding, known) in [
        ("/number", "br", known),
        ("/number", "gzip, gzip", known),
        ("/stream", "gzip", "identity"),
    ] {
        let request = request("POST", path).header("content-encoding", encoding);
        let answer = send(around_routes(&[]), request.body(Body::from("7")).unwrap()).await;
        assert_eq!(answer.code(), "unsupported_media_type", "{encoding}");
        assert_eq!(answer.headers["accept-encoding"], known);
        let fault = &answer.json()["errors"][0];
        assert_eq!(fault["header"], "content-encoding");
        assert!(fault["detail"].as_str().unwrap().contains(encoding));
    }
}

#[tokio::test(start_paused = true)]
async fn missing_body_is_a_408_and_a_slow_handler_a_504() {
    let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"[1,"))]);
    let never = Body::from_stream(stream::StreamExt::chain(begun, stream::pending()));
    let answer = posted("/number", "application/json", never).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (408, "request_timeout")
    );
    let answer = posted("/slow", "application/json", "7").await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "timeout"));
}

/// A body whose chunks arrive when the sender sends them.
fn to_come<Piece: Into<Bytes> + Send + 'static>() -> (mpsc::Sender<Piece>, Body) {
    let (sender, receiver) = mpsc::channel(9);
    let pieces = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Piece>| {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    (sender, Body::from_stream(pieces))
}

/// One permit, for which one request may wait.
fn with_one_permit() -> Router {
    around_routes(&["http.max_in_flight=1", "http.max_waiting=1"])
}

async fn sent_to(routes: &Router, path: &str, body: Body) -> Answer {
    let request = request("POST", path).header("content-type", "application/json");
    send(routes.clone(), request.body(body).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_hold_no_permit() {
    let routes = with_one_permit();
    let (mut clients, mut waiting) = (Vec::new(), tokio::task::JoinSet::new());
    // Together, they fit the budget.
    for _ in 0..LIMIT / 4 {
        let (client, body) = to_come();
        client.send("1").await.unwrap();
        clients.push(client);
        let routes = routes.clone();
        waiting.spawn(async move { sent_to(&routes, "/number", body).await });
    }
    for _ in 0..10 {
        sleep(Duration::from_millis(10)).await;
        let other = sent_to(&routes, "/number", Body::from("7")).await;
        assert_eq!((other.status, other.text()), (200, "7"));
    }
    for client in clients {
        client.send("2").await.unwrap();
    }
    for answer in waiting.join_all().await {
        assert_eq!((answer.status, answer.text()), (200, "12"));
    }
}

#[tokio::test(start_paused = true)]
async fn complete_body_without_a_permit_gets_503() {
    for path in ["/number", "/raw"] {
        let routes = with_one_permit();
        let (client, body) = to_come();
        let rest = async {
            sleep(Duration::from_millis(100)).await;
            client.send("12").await.unwrap();
            drop(client);
        };
        let busy = sent_to(&routes, "/slow", Body::empty());
        let began = Instant::now();
        let (answer, _, ()) = tokio::join!(sent_to(&routes, path, body), busy, rest);
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"));
        assert!(answer.headers.contains_key("retry-after"));
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        // All permits and the whole budget are free again.
        for _ in 0..3 {
            let next = sent_to(&routes, "/number", Body::from("7")).await;
            assert_eq!(next.status, 200, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn request_with_a_body_holds_a_permit_while_it_runs() {
    let routes = with_one_permit();
    let (client, body) = to_come();
    let other = async {
        sleep(Duration::from_millis(10)).await;
        client.send("7").await.unwrap();
        drop(client);
        sleep(Duration::from_millis(10)).await;
        sent_to(&routes, "/number", Body::from("7")).await
    };
    let (first, second) = tokio::join!(sent_to(&routes, "/thorough", body), other);
    assert_eq!((first.status, first.text()), (200, "1"));
    assert_eq!((second.status, second.code().as_str()), (503, "overloaded"));
}

#[tokio::test(start_paused = true)]
async fn exhausted_budget_of_all_bodies_gets_503() {
    let routes = with_one_permit();
    let (client, body) = to_come();
    client.send("7".repeat(LIMIT * 3 / 4)).await.unwrap();
    let other = async {
        sleep(Duration::from_millis(10)).await;
        let other = sent_to(&routes, "/raw", Body::from("7".repeat(LIMIT / 2))).await;
        let small = sent_to(&routes, "/number", Body::from("7")).await;
        drop(client);
        (other, small)
    };
    let (first, (second, small)) = tokio::join!(sent_to(&routes, "/raw", body), other);
    assert_eq!((first.status, first.text()), (200, "48"));
    assert_eq!((second.status, second.code().as_str()), (503, "overloaded"));
    assert_eq!(small.status, 200);
}

#[tokio::test(start_paused = true)]
async fn streamed_body_holds_a_permit_while_it_arrives() {
    let routes = with_one_permit();
    let (client, body) = to_come();
    client.send("1").await.unwrap();
    let other = async {
        sleep(Duration::from_millis(10)).await;
        let other = sent_to(&routes, "/number", Body::from("7")).await;
        client.send("2").await.unwrap();
        drop(client);
        other
    };
    let (streamed, other) = tokio::join!(sent_to(&routes, "/stream", body), other);
    assert_eq!((streamed.status, streamed.text()), (200, "12"));
    assert_eq!((other.status, other.code().as_str()), (503, "overloaded"));
    let next = sent_to(&routes, "/number", Body::from("7")).await;
    assert_eq!(next.status, 200);
}
