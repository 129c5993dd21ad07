//! Compressed bodies of requests.

use async_compression::tokio::write::GzipEncoder;
use tokio::io::AsyncWriteExt;

use super::bodies::pieces;
use super::*;

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.unwrap();
    encoder.shutdown().await.unwrap();
    encoder.into_inner()
}

#[tokio::test]
async fn body_limit_holds_before_and_after_decompression() {
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
    // The limit before decompression, without a declared length.
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
