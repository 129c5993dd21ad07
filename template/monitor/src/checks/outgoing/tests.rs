//! Requests to a peer on this machine, whose address is allowed here.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use mainstay::context::Trace;
use tokio::net::TcpSocket;
use tokio::time::{pause, timeout};

use super::*;
use crate::checks::peer::{Event, Peer, Reply, answer};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Longer than any operation takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(in crate::checks) fn settings() -> Settings {
    Settings {
        allow_private: false,
        connect_timeout: PATIENCE,
        max_redirects: 3,
        answer_limit: ByteSize(1000),
        idle_connections: 2,
    }
}

/// Returns one list of addresses after the other, and the last one for ever.
struct Names(Mutex<Vec<Vec<IpAddr>>>);

impl Names {
    fn lead_to(lists: &[&[IpAddr]]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(
            lists.iter().rev().map(|list| list.to_vec()).collect(),
        )))
    }

    /// The number of lists that were not returned yet.
    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Resolve for Names {
    fn resolve(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let next = self.0.lock().unwrap().pop();
        Box::pin(async { next.ok_or_else(|| io::Error::other("no such host")) })
    }
}

/// A client that may connect to this machine only.
fn outgoing(names: Arc<Names>) -> Outgoing {
    Outgoing::with(&settings(), names, |address| address == HERE)
}

async fn get(url: &Url) -> Result<(StatusCode, Bytes), Failure> {
    ask(&outgoing(Names::lead_to(&[])), url).await
}

async fn ask(outgoing: &Outgoing, url: &Url) -> Result<(StatusCode, Bytes), Failure> {
    let answer = outgoing.get(url, PATIENCE).await?;
    Ok((answer.status(), answer.read().await?))
}

fn named(peer: &Peer) -> Url {
    format!("http://watched.example:{}/", peer.address.port())
        .parse()
        .unwrap()
}

#[tokio::test]
async fn request_has_a_user_agent_and_response_is_unchanged() {
    let peer = Peer::always(answer("418 I'm a teapot", "", "short and stout")).await;
    let mut url = peer.url("/pot?full#half");
    url.set_username("alice").unwrap();

    let (status, body) = get(&url).await.unwrap();

    assert_eq!((status.as_u16(), &body[..]), (418, &b"short and stout"[..]));
    let head = peer.asked().await;
    assert!(head.starts_with("GET /pot?full HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("host: {}\r\n", peer.address)),
        "{head}"
    );
    let agent = concat!("user-agent: ", env!("CARGO_PKG_NAME"), "/");
    assert!(head.contains(agent), "{head}");
    assert!(
        !head.contains("alice") && !head.contains("traceparent"),
        "{head}"
    );
}

#[tokio::test]
async fn outgoing_request_inherits_trace_and_deadline() {
    let peer = Peer::always(answer("200 OK", "", "")).await;
    let context = RequestContext {
        trace: Some(Arc::new(Trace::new_sampled())),
        ..RequestContext::until(Instant::now() + PATIENCE)
    };
    let id = context.trace.as_ref().unwrap().id.clone();
    context.scope(get(&peer.url("/"))).await.unwrap();
    let head = peer.asked().await;
    assert!(head.contains(&format!("traceparent: 00-{id}-")), "{head}");

    let silent = Peer::always(Reply::Silence).await;
    let context = RequestContext::until(Instant::now() + Duration::from_millis(20));
    let late = context.scope(get(&silent.url("/"))).await;
    assert_eq!(late, Err(Failure::Timeout));
}

#[tokio::test]
async fn connection_is_reused() {
    let peer = Peer::always(answer("200 OK", "", "hello")).await;
    let outgoing = outgoing(Names::lead_to(&[]));
    for _ in 0..3 {
        ask(&outgoing, &peer.url("/")).await.unwrap();
    }
    let connections = peer.seen().await;
    let connections = connections
        .iter()
        .filter(|event| **event == Event::Connected);
    assert_eq!(connections.count(), 1);
}

#[tokio::test]
async fn body_is_not_read_beyond_its_limit() {
    let fits = Peer::always(answer("200 OK", "", &"x".repeat(1000))).await;
    assert_eq!(get(&fits.url("/")).await.unwrap().1.len(), 1000);

    // The length is announced. The rest never comes, and is not awaited.
    let told = "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n";
    let told = Peer::always(Reply::Bytes(told.to_owned())).await;
    assert_eq!(get(&told.url("/")).await, Err(Failure::TooLarge(1000)));

    let piece = format!("40\r\n{}\r\n", "x".repeat(0x40));
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let mut pieces = head + &piece;
    pieces.extend(std::iter::repeat_n(piece.as_str(), 99));
    let endless = Peer::new(move |_| Reply::Bytes(pieces.clone())).await;
    assert_eq!(get(&endless.url("/")).await, Err(Failure::TooLarge(1000)));
}

#[tokio::test]
async fn endless_body_is_cut_off() {
    // The body ends with the connection.
    let peer = Peer::always(Reply::Endless(format!(
        "HTTP/1.1 200 OK\r\n\r\n{}",
        "x".repeat(500)
    )))
    .await;

    assert_eq!(get(&peer.url("/")).await, Err(Failure::TooLarge(1000)));

    while peer.next().await != Event::Left {}
}

#[tokio::test]
async fn missing_body_is_awaited_until_the_deadline() {
    let promised = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n".to_owned();
    let peer = Peer::always(Reply::Bytes(promised)).await;
    let (outgoing, url) = (outgoing(Names::lead_to(&[])), peer.url("/"));
    let answer = outgoing.get(&url, PATIENCE).await.unwrap();
    pause();

    let read = timeout(2 * PATIENCE, answer.read()).await;

    assert_eq!(read.unwrap(), Err(Failure::Timeout));
}

#[tokio::test]
async fn redirects_are_followed_and_limited() {
    // /3 redirects to /2, /2 to /1, and /1 to /0, which responds.
    let peer = Peer::new(|head| {
        let number: u32 = head[5..6].parse().unwrap();
        match number.checked_sub(1) {
            Some(next) => answer("302 Found", &format!("location: /{next}\r\n"), "elsewhere"),
            None => answer("200 OK", "", "here"),
        }
    })
    .await;

    assert_eq!(get(&peer.url("/3")).await.unwrap().1, "here");
    let too_many = get(&peer.url("/4")).await;
    assert_eq!(too_many, Err(Failure::TooManyRedirects(3)));
    assert!(!Failure::TooManyRedirects(3).may_be_retried());
}

#[tokio::test]
async fn redirect_to_a_private_address_is_refused() {
    for (location, expected) in [
        (
            "http://169.254.169.254/latest/meta-data",
            Failure::Refused(METADATA),
        ),
        (
            "http://127.0.0.2/",
            Failure::Refused("127.0.0.2".parse().unwrap()),
        ),
        ("https://[::1]/", Failure::Refused("::1".parse().unwrap())),
        ("http://inside.example/", Failure::Refused(METADATA)),
        (
            "file:///etc/passwd",
            Failure::Protocol("the redirect leads to no HTTP URL".to_owned()),
        ),
    ] {
        let header = format!("location: {location}\r\n");
        let peer = Peer::always(answer("307 Temporary Redirect", &header, "")).await;
        let outgoing = outgoing(Names::lead_to(&[&[METADATA]]));

        let refused = ask(&outgoing, &peer.url("/")).await;

        assert_eq!(refused, Err(expected), "{location}");
    }
}

#[tokio::test]
async fn private_address_is_refused_in_any_notation() {
    let peer = Peer::always(answer("200 OK", "", "")).await;
    let outgoing = Outgoing::new(&settings());
    let port = peer.address.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST",
    ] {
        let url = format!("http://{host}:{port}/");
        let url = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        let refused = ask(&outgoing, &url).await;
        assert!(
            matches!(refused, Err(Failure::Refused(_))),
            "{host}: {refused:?}"
        );
        assert!(!refused.unwrap_err().may_be_retried());
    }
    assert_eq!(peer.seen().await, []);
}

#[tokio::test]
async fn allow_private_allows_private_addresses() {
    let peer = Peer::always(answer("204 No Content", "", "")).await;
    let outgoing = Outgoing::new(&Settings {
        allow_private: true,
        ..settings()
    });
    let (status, _) = ask(&outgoing, &peer.url("/")).await.unwrap();
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn checked_address_is_the_one_that_is_used() {
    let peer = Peer::always(answer("200 OK", "connection: close\r\n", "")).await;
    // A name that is public when it is checked, and private when it is resolved again.
    let names = Names::lead_to(&[&[HERE], &[METADATA]]);
    let outgoing = outgoing(Arc::clone(&names));

    assert!(ask(&outgoing, &named(&peer)).await.is_ok());
    assert_eq!(names.left(), 1, "looked up once for one connection");

    let refused = ask(&outgoing, &named(&peer)).await;
    assert_eq!(refused, Err(Failure::Refused(METADATA)));
}

#[tokio::test]
async fn private_addresses_of_a_name_are_skipped() {
    let peer = Peer::always(answer("200 OK", "", "")).await;
    let outgoing = outgoing(Names::lead_to(&[&[METADATA, HERE]]));
    assert!(ask(&outgoing, &named(&peer)).await.is_ok());
}

#[tokio::test]
async fn each_failure_has_a_kind() {
    // A reserved port without a listener.
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind((HERE, 0).into()).unwrap();
    let closed = format!("http://{}/", deaf.local_addr().unwrap());
    let closed = closed.parse().unwrap();
    let plain = Peer::always(Reply::Last("220 ready for mail\r\n".to_owned())).await;
    let mut secure = plain.url("/");
    secure.set_scheme("https").unwrap();
    let nonsense = Peer::always(Reply::Last("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned())).await;
    let short = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort".to_owned();
    let short = Peer::always(Reply::Last(short)).await;
    let nothing = Peer::always(Reply::Last(String::new())).await;
    for (url, kind, may_be_retried) in [
        (&"http://nowhere.example".parse().unwrap(), "dns", true),
        (&closed, "connect", true),
        (&secure, "tls", false),
        (&nonsense.url("/"), "protocol", false),
        (&short.url("/"), "broken", true),
        (&nothing.url("/"), "broken", true),
    ] {
        let failure = get(url).await.unwrap_err();
        assert_eq!(failure.kind(), kind, "{url}: {failure}");
        assert_eq!(failure.may_be_retried(), may_be_retried, "{failure}");
    }
}
