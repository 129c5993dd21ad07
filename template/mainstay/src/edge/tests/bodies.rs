//! Bodies of requests, and what they may cost.

use tokio::sync::mpsc;

use super::*;

/// A body of these pieces, whose length nobody knows before.
pub(super) fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
}

#[tokio::test]
async fn a_body_has_its_limit_whoever_reads_it() {
    let piece = || Bytes::from_static(&[b' '; LIMIT / 2]);
    let fits = posted("/raw", "text/plain", pieces(vec![piece(), piece()])).await;
    assert_eq!((fits.status, fits.text()), (200, "64"));
    for path in ["/raw", "/number"] {
        let body = pieces(vec![piece(), piece(), Bytes::from_static(b"7")]);
        let answer = posted(path, "application/json", body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (413, "body_too_large"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn after_its_limit_a_body_is_over_also_for_who_does_not_listen() {
    let pieces_of_it = vec![Bytes::from_static(&[b' '; LIMIT / 2]); 9];
    let answer = posted("/deaf", "text/plain", pieces(pieces_of_it)).await;
    assert_eq!((answer.status, answer.text()), (200, "64"));
}

#[tokio::test]
async fn an_unknown_encoding_of_a_body_is_refused() {
    let with = |encoding: &str| {
        let request = request("POST", "/number").header("content-type", "application/json");
        request.header("content-encoding", encoding)
    };
    let identity = with("identity").body(Body::from("7")).unwrap();
    assert_eq!(send(around_routes(&[]), identity).await.status, 200);
    let mut unknown = vec!["br"];
    if cfg!(not(feature = "gzip")) {
        unknown.push("gzip");
    }
    for encoding in unknown {
        let request = with(encoding).body(Body::from("7")).unwrap();
        let answer = send(around_routes(&[]), request).await;
        let found = (answer.status, answer.code());
        assert_eq!(
            found,
            (415, "unsupported_media_type".to_owned()),
            "{encoding}"
        );
        let known = if cfg!(feature = "gzip") {
            "gzip"
        } else {
            "identity"
        };
        assert_eq!(answer.headers["accept-encoding"], known);
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

/// A body whose pieces come when they are sent, and whoever sends them.
pub(super) fn to_come<Piece: Into<Bytes> + Send + 'static>() -> (mpsc::Sender<Piece>, Body) {
    let (sender, receiver) = mpsc::channel(9);
    let pieces = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Piece>| {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(piece), receiver))
    });
    (sender, Body::from_stream(pieces))
}

/// One place, for which nobody waits for long.
pub(super) fn with_one_place() -> Router {
    around_routes(&["http.max_in_flight=1", "http.max_waiting=1"])
}

pub(super) async fn sent_to(routes: &Router, path: &str, body: Body) -> Answer {
    let request = request("POST", path).header("content-type", "application/json");
    send(routes.clone(), request.body(body).unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_its_client_keeps_no_place() {
    let routes = with_one_place();
    let (mut clients, mut waiting) = (Vec::new(), tokio::task::JoinSet::new());
    // Together, they bring no more than the one place would be for.
    for _ in 0..LIMIT {
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
async fn whoever_finds_no_place_again_is_told_to_come_again() {
    for path in ["/number", "/raw"] {
        let routes = with_one_place();
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
        // Its place is free again, and the other one's.
        assert_eq!(began.elapsed(), Duration::from_secs(1));
        for _ in 0..3 {
            let next = sent_to(&routes, "/number", Body::from("7")).await;
            assert_eq!(next.status, 200, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_let_in_again_works_as_one_of_those_inside() {
    let routes = with_one_place();
    let (client, body) = to_come();
    let slow = async {
        sleep(Duration::from_millis(10)).await;
        client.send("7").await.unwrap();
        drop(client);
        sleep(Duration::from_millis(10)).await;
        // There is none left: it has read all, and is at work.
        sent_to(&routes, "/number", Body::from("7")).await
    };
    let (first, second) = tokio::join!(sent_to(&routes, "/thorough", body), slow);
    assert_eq!((first.status, first.text()), (200, "1"));
    assert_eq!((second.status, second.code().as_str()), (503, "overloaded"));
}

#[tokio::test(start_paused = true)]
async fn what_is_read_of_a_body_after_the_answer_is_no_work_of_ours() {
    let routes = with_one_place();
    let (client, body) = to_come();
    client.send("1").await.unwrap();
    let request = request("POST", "/echo").body(body).unwrap();
    let answer = routes.clone().oneshot(request).await.unwrap();
    let mut echo = answer.into_body().into_data_stream();
    let mut echoed = String::new();
    for piece in ["2", "3"] {
        client.send(piece).await.unwrap();
        let next = echo.next().await.unwrap().unwrap();
        echoed.push_str(str::from_utf8(&next).unwrap());
        let other = sent_to(&routes, "/number", Body::from("7")).await;
        assert_eq!(other.status, 200, "it has no place");
    }
    drop((client, echo));
    assert_eq!(echoed, "12");
    let busy = sent_to(&routes, "/slow", Body::empty());
    let other = async {
        sleep(Duration::from_millis(1)).await;
        sent_to(&routes, "/number", Body::from("7")).await
    };
    let (_, other) = tokio::join!(busy, other);
    assert_eq!(other.status, 503, "nor is there one too many");
}
