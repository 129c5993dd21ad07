//! The events of streams.

use std::pin::Pin;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use futures_util::{FutureExt, Stream, StreamExt};
use mainstay::server::{Limits, Sockets};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use super::*;
use feed::RING;
use stream::{PAGE, SILENCE, Subscription};

/// A stream of this process.
struct Follower(Pin<Box<dyn Stream<Item = Result<Bytes, std::convert::Infallible>>>>);

/// An event: the id of a change, or the id after which changes were missed, and their number.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Change(i64),
    Missed { after: i64, count: i64 },
}

use Heard::{Change as LiveChange, Missed};

impl Follower {
    async fn new(feed: &Feed, seen: Option<i64>) -> Self {
        let permits = Arc::new(Semaphore::new(1));
        let place = permits.try_acquire_owned().unwrap();
        let frames = Subscription::new(feed, seen, place).frames();
        let mut follower = Self(Box::pin(frames));
        let hello = follower.frame().await;
        assert!(hello.starts_with("retry: "), "{hello}");
        follower
    }

    async fn frame(&mut self) -> String {
        let next = timeout(PATIENCE, self.0.next()).await.unwrap();
        let frame = next.unwrap().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    }

    /// The events up to this change.
    async fn until(&mut self, id: i64) -> Vec<Heard> {
        let mut heard = Vec::new();
        while heard.last() != Some(&LiveChange(id)) {
            heard.extend(self.frame().await.lines().filter_map(read));
        }
        heard
    }

    fn is_silent(&mut self) -> bool {
        unconstrained(self.0.next()).now_or_never().is_none()
    }
}

fn read(line: &str) -> Option<Heard> {
    if let Some(id) = line.strip_prefix("id: ") {
        return Some(LiveChange(id.parse().unwrap()));
    }
    let data = line.strip_prefix("data: {\"after\":")?;
    let (after, count) = data.split_once(",\"count\":").unwrap();
    Some(Missed {
        after: after.parse().unwrap(),
        count: count.trim_end_matches('}').parse().unwrap(),
    })
}

fn told(range: std::ops::RangeInclusive<i64>) -> Vec<Heard> {
    range.map(LiveChange).collect()
}

async fn feed(fixture: &Fixture) -> Feed {
    Feed::from_now(fixture.changes.clone()).await.unwrap()
}

#[tokio::test]
async fn change_is_encoded_as_an_event() {
    let fixture = Fixture::new().await;
    let targets = fixture.watched.schedule(2).await;
    let feed = feed(&fixture).await;
    let mut follower = Follower::new(&feed, None).await;
    fixture.found(&targets[..1], 100, None).await;
    fixture.found(&targets[1..], 101, Some("timeout")).await;
    fixture.announcer(0).run_once(at(101)).await.unwrap();

    feed.run_once().await.unwrap();

    let [up, down] = [targets[0], targets[1]];
    assert_eq!(
        follower.frame().await,
        format!(
            "id: 1\nevent: up\n\
             data: {{\"target_id\":{up},\"is_up\":true,\"at\":\"1970-01-01T00:01:40.000Z\"}}\n\n"
        )
    );
    assert_eq!(
        follower.frame().await,
        format!(
            "id: 2\nevent: down\ndata: {{\"target_id\":{down},\"is_up\":false,\
             \"at\":\"1970-01-01T00:01:41.000Z\",\"reason\":\"timeout\"}}\n\n"
        )
    );
    assert!(follower.is_silent());
}

#[tokio::test]
async fn returning_client_gets_what_it_missed_once() {
    let fixture = Fixture::new().await;
    let many = i64::try_from(PAGE).unwrap() * 2 + 50;
    fixture.announce(PAGE * 2 + 20).await;
    let feed = feed(&fixture).await;
    // This process has not read these changes yet.
    fixture.announce(30).await;
    let mut follower = Follower::new(&feed, Some(3)).await;
    assert_eq!(follower.until(many).await, told(4..=many));

    feed.run_once().await.unwrap();
    fixture.announce(2).await;
    feed.run_once().await.unwrap();

    assert_eq!(follower.until(many + 2).await, told(many + 1..=many + 2));
}

#[tokio::test]
async fn client_without_an_id_gets_new_changes_only() {
    let fixture = Fixture::new().await;
    fixture.announce(5).await;
    let feed = feed(&fixture).await;
    let mut follower = Follower::new(&feed, None).await;
    fixture.announce(2).await;
    feed.run_once().await.unwrap();
    assert_eq!(follower.until(7).await, told(6..=7));
}

#[tokio::test]
async fn slow_client_gets_the_number_of_missed_changes() {
    let fixture = Fixture::new().await;
    fixture.announce(3).await;
    let feed = feed(&fixture).await;
    let mut slow = Follower::new(&feed, None).await;
    let mut quick = Follower::new(&feed, None).await;
    fixture.announce(RING).await;
    feed.run_once().await.unwrap();
    let ring = i64::try_from(RING).unwrap();
    assert_eq!(quick.until(3 + ring).await, told(4..=3 + ring));
    fixture.announce(10).await;
    feed.run_once().await.unwrap();

    let heard = slow.until(13 + ring).await;

    let missed = Missed {
        after: 3,
        count: 10,
    };
    assert_eq!(heard[0], missed);
    assert_eq!(heard[1..], told(14..=13 + ring));
    assert_eq!(quick.until(13 + ring).await, told(4 + ring..=13 + ring));

    // A client that returns gets the missed changes.
    let mut again = Follower::new(&feed, Some(3)).await;
    assert_eq!(again.until(13 + ring).await, told(4..=13 + ring));
}

#[tokio::test]
async fn client_asking_for_removed_changes_gets_missed_at_once() {
    let fixture = Fixture::new().await;
    fixture.announce(6).await;
    let feed = feed(&fixture).await;
    fixture
        .watched
        .run("DELETE FROM changes WHERE id <= 4")
        .await;
    let mut some = Follower::new(&feed, Some(1)).await;
    let mut heard = vec![Missed { after: 1, count: 3 }];
    heard.extend(told(5..=6));
    assert_eq!(some.until(6).await, heard);

    fixture.watched.run("DELETE FROM changes").await;
    let mut none = Follower::new(&feed, Some(1)).await;

    let missed = none.frame().await;
    assert_eq!(missed, "event: missed\ndata: {\"after\":1,\"count\":5}\n\n");
    assert!(none.is_silent());
}

#[tokio::test]
async fn idle_stream_sends_comments() {
    let fixture = Fixture::new().await;
    let feed = feed(&fixture).await;
    let mut follower = Follower::new(&feed, None).await;
    tokio::time::pause();
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(follower.frame().await, ":\n\n");
        let took = began.elapsed();
        assert!((SILENCE..SILENCE * 2).contains(&took), "{took:?}");
    }
}

async fn router(fixture: &Fixture, permits: usize) -> (Router, Feed) {
    let feed = feed(fixture).await;
    let followed = routes::RouteState {
        feed: feed.clone(),
        permits: Arc::new(Semaphore::new(permits)),
    };
    (routes::routes(followed).split_for_parts().0, feed)
}

fn asked(seen: &[&str]) -> Request<Body> {
    let mut request = Request::get("/events");
    for seen in seen {
        request = request.header("last-event-id", *seen);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn unknown_last_event_id_is_refused() {
    let fixture = Fixture::new().await;
    fixture.announce(6).await;
    let (router, _feed) = router(&fixture, 10).await;
    for seen in [
        &["six"] as &[_],
        &[""],
        &["-1"],
        &["+1"],
        &["1.0"],
        &["7"],
        &["1", "1"],
        &["9223372036854775808"],
    ] {
        let answer = router.clone().oneshot(asked(seen)).await.unwrap();
        assert_eq!(answer.status().as_u16(), 400, "{seen:?}");
        let body = axum::body::to_bytes(answer.into_body(), 1000).await;
        let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
        assert!(body.contains("\"header\":\"last-event-id\""), "{body}");
    }
    for seen in [&[] as &[_], &["0"], &["6"], &["000000000000000006"]] {
        let answer = router.clone().oneshot(asked(seen)).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{seen:?}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
    }
}

#[tokio::test]
async fn streams_are_limited_and_a_closed_one_frees_its_permit() {
    let fixture = Fixture::new().await;
    let (router, _feed) = router(&fixture, 2).await;
    let follow = || async { router.clone().oneshot(asked(&[])).await.unwrap() };
    let (first, _second) = (follow().await, follow().await);

    let third = follow().await;
    assert_eq!(third.status().as_u16(), 503);
    assert_eq!(third.headers()[header::RETRY_AFTER], "10");

    drop(first);
    assert_eq!(follow().await.status().as_u16(), 200);
}

/// Over a real connection, with all its buffers.
#[tokio::test]
async fn slow_client_blocks_no_other_and_hears_what_it_missed() {
    const MANY: usize = 60_000;
    let fixture = Fixture::new().await;
    let (router, feed) = router(&fixture, 1).await;
    let bound = Sockets::from_env(&[]).take("http", ([127, 0, 0, 1], 0).into());
    let listener = bound.unwrap().serve(router, &Limits::OPERATOR).unwrap();
    let mut client = narrow(&listener.address().into());
    let request = b"GET /events HTTP/1.1\r\nhost: here\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut lines = BufReader::new(client).lines();
    while !lines
        .next_line()
        .await
        .unwrap()
        .unwrap()
        .starts_with("retry: ")
    {}

    fixture.announce(MANY).await;
    timeout(PATIENCE, feed.run_once()).await.unwrap().unwrap();
    let last = i64::try_from(MANY).unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&LiveChange(last)) {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap();
        heard.extend(line.unwrap().as_deref().and_then(read));
    }

    let mut seen = 0;
    for heard in &heard {
        seen += match heard {
            LiveChange(id) => {
                assert_eq!(*id, seen + 1);
                1
            }
            Missed { after, count } => {
                assert_eq!(*after, seen);
                *count
            }
        };
    }
    assert_eq!(seen, last);
    assert!(heard.len() < MANY, "all of it was kept for this client");
}

/// A client with a small receive buffer.
fn narrow(address: &socket2::SockAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpStream::from_std(socket.into()).unwrap()
}
