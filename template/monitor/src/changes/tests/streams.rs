//! What those who follow are told.

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
use stream::{Following, PAGE, SILENCE};

/// One who follows in this process.
struct Follower(Pin<Box<dyn Stream<Item = Result<Bytes, std::convert::Infallible>>>>);

/// What was told: which change, or after which one how many were missed.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Change(i64),
    Missed { after: i64, count: i64 },
}

use Heard::{Change as Told, Missed};

impl Follower {
    async fn new(feed: &Feed, seen: Option<i64>) -> Self {
        let places = Arc::new(Semaphore::new(1));
        let place = places.try_acquire_owned().unwrap();
        let frames = Following::new(feed, seen, place).frames();
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

    /// What is heard until this change is told.
    async fn until(&mut self, id: i64) -> Vec<Heard> {
        let mut heard = Vec::new();
        while heard.last() != Some(&Told(id)) {
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
        return Some(Told(id.parse().unwrap()));
    }
    let data = line.strip_prefix("data: {\"after\":")?;
    let (after, count) = data.split_once(",\"count\":").unwrap();
    Some(Missed {
        after: after.parse().unwrap(),
        count: count.trim_end_matches('}').parse().unwrap(),
    })
}

fn told(range: std::ops::RangeInclusive<i64>) -> Vec<Heard> {
    range.map(Told).collect()
}

async fn feed(fixture: &Fixture) -> Feed {
    Feed::from_now(fixture.changes.clone()).await.unwrap()
}

#[tokio::test]
async fn a_change_is_told_as_it_is() {
    let fixture = Fixture::new().await;
    let targets = fixture.watched.schedule(2).await;
    let feed = feed(&fixture).await;
    let mut follower = Follower::new(&feed, None).await;
    fixture.found(&targets[..1], 100, None).await;
    fixture.found(&targets[1..], 101, Some("timeout")).await;
    fixture.announcer(0).turn(at(101)).await.unwrap();

    feed.turn().await.unwrap();

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
    // This process does not know of these yet.
    fixture.announce(30).await;
    let mut follower = Follower::new(&feed, Some(3)).await;
    assert_eq!(follower.until(many).await, told(4..=many));

    feed.turn().await.unwrap();
    fixture.announce(2).await;
    feed.turn().await.unwrap();

    assert_eq!(follower.until(many + 2).await, told(many + 1..=many + 2));
}

#[tokio::test]
async fn who_does_not_say_what_they_have_seen_is_told_what_comes() {
    let fixture = Fixture::new().await;
    fixture.announce(5).await;
    let feed = feed(&fixture).await;
    let mut follower = Follower::new(&feed, None).await;
    fixture.announce(2).await;
    feed.turn().await.unwrap();
    assert_eq!(follower.until(7).await, told(6..=7));
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_how_many_they_have_missed() {
    let fixture = Fixture::new().await;
    fixture.announce(3).await;
    let feed = feed(&fixture).await;
    let mut slow = Follower::new(&feed, None).await;
    let mut quick = Follower::new(&feed, None).await;
    fixture.announce(RING).await;
    feed.turn().await.unwrap();
    let ring = i64::try_from(RING).unwrap();
    assert_eq!(quick.until(3 + ring).await, told(4..=3 + ring));
    fixture.announce(10).await;
    feed.turn().await.unwrap();

    let heard = slow.until(13 + ring).await;

    let missed = Missed {
        after: 3,
        count: 10,
    };
    assert_eq!(heard[0], missed);
    assert_eq!(heard[1..], told(14..=13 + ring));
    assert_eq!(quick.until(13 + ring).await, told(4 + ring..=13 + ring));

    // What was missed is told to who asks for it.
    let mut again = Follower::new(&feed, Some(3)).await;
    assert_eq!(again.until(13 + ring).await, told(4..=13 + ring));
}

#[tokio::test]
async fn who_comes_for_what_is_not_kept_any_more_is_told_so_at_once() {
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
async fn who_is_told_nothing_hears_a_comment_every_while() {
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

async fn router(fixture: &Fixture, places: usize) -> (Router, Feed) {
    let feed = feed(fixture).await;
    let followed = routes::Followed {
        feed: feed.clone(),
        places: Arc::new(Semaphore::new(places)),
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
async fn what_nobody_can_have_seen_is_refused() {
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
async fn no_more_follow_than_may_and_who_leaves_makes_room() {
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

/// Over a real connection, with all that buffers on the way.
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
    timeout(PATIENCE, feed.turn()).await.unwrap().unwrap();
    let last = i64::try_from(MANY).unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&Told(last)) {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap();
        heard.extend(line.unwrap().as_deref().and_then(read));
    }

    let mut seen = 0;
    for heard in &heard {
        seen += match heard {
            Told(id) => {
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

/// A client that has little room for what it does not read.
fn narrow(address: &socket2::SockAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).unwrap();
    socket.set_nonblocking(true).unwrap();
    TcpStream::from_std(socket.into()).unwrap()
}
