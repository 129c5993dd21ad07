//! The clients against servers that are good, rude, or silent.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use harness::http::{self, Conversation, Http1, Http2, Kind, Request};
use http_body_util::Full;
use hyper::{Response, body::Bytes, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Gives every connection to `talk`.
async fn listen<F>(talk: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream));
        }
    });
    address
}

/// Answers what hyper reads as a request with its method, path and version; `/last` ends the
/// connection.
async fn echo(
    request: hyper::Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let version = format!("{:?}", request.version());
    let said = json!({"method": request.method().as_str(), "path": request.uri().path(), "version": version});
    let mut response = Response::new(Full::new(said.to_string().into()));
    if request.uri().path() == "/last" && version == "HTTP/1.1" {
        response
            .headers_mut()
            .insert("connection", "close".parse().unwrap());
    }
    Ok(response)
}

#[tokio::test]
async fn http1_keeps_a_connection_and_notices_its_end() {
    let address = listen(|stream| async {
        let _ = conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service_fn(echo))
            .await;
    })
    .await;
    let mut connection = Http1::connect(address).await.unwrap();
    let answer = connection
        .send(Request::post("/a").json(&json!({})))
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(
        answer.json(),
        json!({"method": "POST", "path": "/a", "version": "HTTP/1.1"})
    );
    let answer = connection.get("/last").await.unwrap();
    assert_eq!(answer.header("Connection"), Some("close"));
    connection.closed().await.unwrap();
    assert_eq!(connection.get("/b").await.unwrap_err().kind, Kind::Closed);
    assert_eq!(http::get(address, "/c").await.unwrap().json()["path"], "/c");
}

#[tokio::test]
async fn http2_shares_a_connection() {
    let address = listen(|stream| async {
        let _ = conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(echo))
            .await;
    })
    .await;
    let connection = Http2::connect(address).await.unwrap();
    let (a, b) = tokio::join!(connection.get("/a"), connection.get("/b"));
    assert_eq!(a.unwrap().json()["version"], "HTTP/2.0");
    assert_eq!(b.unwrap().json()["path"], "/b");
}

#[tokio::test]
async fn a_failed_request_names_itself_and_its_kind() {
    let silent = listen(|mut stream| async move {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let request = Request::get("/slow").within(Duration::from_millis(100));
    let late = http::send(silent, request).await.unwrap_err();
    assert_eq!(late.kind, Kind::Late);
    assert!(
        late.to_string().contains(&format!("GET /slow at {silent}")),
        "{late}"
    );

    let closing = listen(|mut stream| async move {
        let _ = stream.read(&mut [0; 1000]).await;
    })
    .await;
    assert_eq!(
        http::get(closing, "/").await.unwrap_err().kind,
        Kind::Closed
    );
    let resetting = listen(|mut stream| async move {
        let _ = stream.read(&mut [0; 1000]).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    assert_eq!(
        http::get(resetting, "/").await.unwrap_err().kind,
        Kind::Reset
    );
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(http::get(free, "/").await.unwrap_err().kind, Kind::Refused);
    assert_eq!(
        Conversation::open(free).await.unwrap_err().kind,
        Kind::Refused
    );
}

#[tokio::test]
async fn a_conversation_reads_every_way_to_end_a_body() {
    let address = listen(|mut stream| async move {
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        let answers = "HTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst\
             HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n\
             3;a=b\r\nsec\r\n3\r\nond\r\n0\r\nTrailer: x\r\n\r\n\
             data: event\n\nHTTP/1.0 500\r\n\r\nuntil the end";
        for byte in answers.bytes() {
            stream.write_all(&[byte]).await.unwrap();
        }
    })
    .await;
    let mut conversation = Conversation::open(address).await.unwrap();
    conversation.write("GET / HTTP/1.1\r\n\r\n").await.unwrap();
    conversation.finish().await.unwrap();
    assert_eq!(conversation.answer().await.unwrap().status, 100);
    assert_eq!(conversation.answer().await.unwrap().text(), "first");
    let second = conversation.answer().await.unwrap();
    assert_eq!((second.status, second.text()), (404, "second"));
    assert_eq!(
        conversation.until("\n\n").await.unwrap(),
        b"data: event\n\n"
    );
    let last = conversation.answer().await.unwrap();
    assert_eq!((last.status, last.text()), (500, "until the end"));
    assert!(!conversation.closed().await.unwrap().by_force);
}

#[tokio::test]
async fn a_conversation_keeps_what_was_not_asked_for_and_says_how_it_was_ended() {
    let address = listen(|mut stream| async move {
        stream.read_exact(&mut [0; 2]).await.unwrap();
        stream.write_all(b"half").await.unwrap();
        // Read the rest, and break off.
        stream.read_exact(&mut [0; 3]).await.unwrap();
        stream.set_zero_linger().unwrap();
    })
    .await;
    let mut conversation = Conversation::open(address).await.unwrap();
    conversation.write("no\r\n").await.unwrap();
    let late = conversation
        .within(Duration::from_millis(100))
        .head()
        .await
        .unwrap_err();
    assert_eq!(late.kind, Kind::Late);
    assert!(late.to_string().contains("after saying `no`"), "{late}");
    conversation.within(Duration::from_secs(30));
    assert_eq!(conversation.exactly(2).await.unwrap(), b"ha");
    // A conversation may go on in a task.
    let farewell = tokio::spawn(async move {
        conversation.write("!").await.unwrap();
        conversation.closed().await.unwrap()
    });
    let farewell = farewell.await.unwrap();
    assert!(farewell.by_force);
    assert_eq!(farewell.rest, b"lf");
}

#[tokio::test]
async fn a_conversation_may_read_slowly_and_vanish() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let conversation = Conversation::open_narrow(address, 4096).await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let flood = vec![0; 64 << 20];
    let written = tokio::time::timeout(Duration::from_millis(200), stream.write_all(&flood));
    assert!(
        written.await.is_err(),
        "nobody reads, and yet all was written"
    );
    conversation.abort();
    let error = stream.write_all(&flood).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
