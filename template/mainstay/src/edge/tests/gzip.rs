//! Bodies of requests that are compressed.

use async_compression::tokio::write::GzipEncoder;
use tokio::io::AsyncWriteExt;

use super::bodies::{pieces, sent_to, to_come, with_one_place};
use super::*;

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

#[tokio::test]
async fn a_compressed_body_is_limited_before_and_after() {
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
async fn what_was_compressed_counts_as_what_it_has_become() {
    let routes = with_one_place();
    let whole = gzip(&[b' '; LIMIT]).await;
    let (begun, rest) = whole.split_at(whole.len() - 8);
    assert!(begun.len() < LIMIT / 2, "compressed, two are within it");
    let post = |body| {
        let request = request("POST", "/raw").header("content-encoding", "gzip");
        send(routes.clone(), request.body(body).unwrap())
    };
    let ((first, first_body), (second, second_body)) = (to_come(), to_come());
    for client in [&first, &second] {
        client.send(begun.to_vec()).await.unwrap();
    }
    let others = async {
        sleep(Duration::from_millis(1)).await;
        // Only one of them has gone outside, with all that those outside may have.
        let other = sent_to(&routes, "/number", Body::from("7")).await;
        for client in [first, second] {
            client.send(rest.to_vec()).await.unwrap();
        }
        other
    };
    let (first, second, other) = tokio::join!(post(first_body), post(second_body), others);
    assert_eq!((other.status, other.code().as_str()), (503, "overloaded"));
    for answer in [first, second] {
        assert_eq!((answer.status, answer.text()), (200, "64"));
    }
}
