//! Bodies of requests, and what they may cost.

use async_compression::tokio::write::GzipEncoder;
use tokio::io::AsyncWriteExt;

use super::*;

/// A body of these pieces, whose length nobody knows before.
fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
}

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
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
async fn a_compressed_body_has_its_limit_when_it_is_none_any_more() {
    let bomb = gzip(&[b' '; 10_000]).await;
    assert!(bomb.len() <= LIMIT, "the limit before: {}", bomb.len());
    let two = [gzip(b"7").await, gzip(b" ").await].concat();
    let garbled = b"\x1f\x8bnonsense".to_vec();
    let cut = gzip(b"12").await[..20].to_vec();
    for (encoding, body, status, code) in [
        ("gzip", gzip(b"7").await, 200, ""),
        ("GZIP", two, 200, ""),
        ("identity", b"7".to_vec(), 200, ""),
        ("gzip", bomb, 413, "body_too_large"),
        ("gzip", garbled, 400, "bad_request"),
        ("gzip", cut, 400, "bad_request"),
        ("br", b"7".to_vec(), 415, "unsupported_media_type"),
    ] {
        for path in ["/number", "/raw"] {
            let request = request("POST", path)
                .header("content-type", "application/json")
                .header("content-encoding", encoding)
                .header("content-length", body.len());
            let request = request.body(Body::from(body.clone())).unwrap();
            let answer = send(around_routes(&[]), request).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (status, code),
                "{encoding} {path}"
            );
            let known = answer.headers.get("accept-encoding");
            assert_eq!(known.is_some(), status == 415, "{encoding} {path}");
        }
    }
    // Nor is it larger before that, when nobody has said so.
    let noise = (0..LIMIT).map(|_| fastrand::u8(..)).collect::<Vec<_>>();
    let large = gzip(&noise).await;
    assert!(large.len() > LIMIT);
    let body = pieces(large.chunks(10).map(Bytes::copy_from_slice).collect());
    let request = request("POST", "/raw").header("content-encoding", "gzip");
    let answer = send(around_routes(&[]), request.body(body).unwrap()).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "body_too_large")
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_the_clients_doing_and_a_slow_handler_is_ours() {
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
