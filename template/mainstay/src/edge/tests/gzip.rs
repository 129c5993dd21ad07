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
    let routes = around_routes(&[]);
    for (encoding, body, expected) in [
        ("gzip", gzip(b"7").await, "200"),
        ("GZIP", two, "200"),
        ("identity", b"7".to_vec(), "200"),
        ("gzip", bomb, "413 body_too_large"),
        ("gzip", garbled, "400 bad_request"),
        ("gzip", cut, "400 bad_request"),
    ] {
        for path in ["/number", "/raw"] {
            let request = request("POST", path)
                .header("content-type", "application/json")
                .header("content-encoding", encoding)
                .header("content-length", body.len());
            let answer = send(&routes, request, body.clone()).await;
            assert_eq!(outcome(&answer), expected, "{encoding} {path}");
            assert_eq!(answer.header("accept-encoding"), None, "{encoding} {path}");
        }
    }
    // The limit before decompression, without a declared length.
    let noise = (0..LIMIT).map(|_| fastrand::u8(..)).collect::<Vec<_>>();
    let large = gzip(&noise).await;
    assert!(large.len() > LIMIT);
    let body = pieces(large.chunks(10).map(Bytes::copy_from_slice).collect());
    let request = request("POST", "/raw").header("content-encoding", "gzip");
    let answer = send(&routes, request, body).await;
    assert_eq!(outcome(&answer), "413 body_too_large");
}
