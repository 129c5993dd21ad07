//! More requests than permits, and more slow clients than permits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::crowd::make_room;
use harness::http::{self, Conversation, Http1, Request};
use harness::log::Event;
use tokio::task::JoinSet;

use crate::faulty;

/// The most by which a busy machine exceeds a limit.
const SLACK: Duration = Duration::from_millis(700);

#[tokio::test]
async fn overload_gets_503_soon_and_probes_answer() {
    let launch = faulty()
        .set("http.max_in_flight", 4)
        .set("http.max_waiting", 4)
        .set("http.max_wait", "300ms");
    let service = launch.ready().await;
    let address = service.http().await;
    let mut busy = JoinSet::new();
    for _ in 0..4 {
        busy.spawn(async move { http::get(address, "/slow?ms=3000").await.unwrap().status });
    }
    let mut handling = 0;
    let are_four = move |event: &Event| {
        handling += usize::from(event.message == "slow begun");
        handling == 4
    };
    service.wait_for("four in their handlers", are_four).await;

    let began = Instant::now();
    let asked = (0..20).map(|_| http::get(address, "/slow?ms=0"));
    let asked: JoinSet<_> = asked.collect();
    for answer in asked.join_all().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 503, "{answer}");
        assert_eq!(answer.json()["code"], "overloaded", "{answer}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer}");
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(300) + SLACK, "{took:?}");
    let shed = service.metric("http_server_requests_shed_total").await;
    assert!((shed - 20.0).abs() < 0.5, "{shed} were counted");
    for path in ["/livez", "/readyz"] {
        for address in [address, service.operator().await] {
            assert_eq!(http::get(address, path).await.unwrap().status, 200);
        }
    }
    assert!(busy.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(http::get(address, "/slow?ms=0").await.unwrap().status, 200);
}

#[tokio::test]
async fn refusal_costs_no_more_than_an_answer() {
    const REQUESTS: usize = 2000;
    let launch = faulty()
        .set("http.max_in_flight", 1)
        .set("http.max_waiting", 0)
        .set("http.request_timeout", "5m");
    let service = launch.ready().await;
    let address = service.http().await;
    let press = async |status: u16| {
        let mut client = Http1::connect(address).await.unwrap();
        let before = service.cpu_time();
        for _ in 0..REQUESTS {
            let answer = client.get("/slow?ms=0").await.unwrap();
            assert_eq!(answer.status, status, "{answer}");
        }
        service.cpu_time().saturating_sub(before)
    };
    // Warm up.
    press(200).await;
    let answered = press(200).await;
    let never = "GET /never HTTP/1.1\r\nhost: here\r\n\r\n";
    let _busy = Conversation::begin(address, never).await.unwrap();
    service.event("never begun").await;
    let refused = press(503).await;
    println!("{REQUESTS} answers took {answered:?}, as many refusals {refused:?}");
    assert!(refused <= answered, "{refused:?}, {answered:?}");
}

/// The time that a handler takes.
const WORK: Duration = Duration::from_millis(20);

#[tokio::test]
async fn goodput_holds_at_three_times_the_capacity() {
    const PLACES: usize = 8;
    const WAIT: Duration = Duration::from_millis(100);
    let launch = faulty()
        .set("http.max_in_flight", PLACES)
        .set("http.max_waiting", PLACES)
        .set("http.max_wait", "100ms");
    let service = launch.ready().await;
    let address = service.http().await;
    // Interleaved, so that noise affects both alike.
    let (mut calm, mut crowded) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        calm.push(press(address, PLACES).await);
        crowded.push(press(address, 3 * PLACES).await);
    }
    let goodput = |rounds: &[Pressed]| rounds.iter().map(|round| round.took.len()).sum::<usize>();
    let percent = 100 * goodput(&crowded) / goodput(&calm);
    let refused: usize = crowded.iter().map(|round| round.refused).sum();
    let mut took: Vec<_> = crowded.into_iter().flat_map(|round| round.took).collect();
    took.sort_unstable();
    let late = took[took.len() * 99 / 100];
    println!("{percent} % of the goodput, {refused} refused, 99 of 100 took at most {late:?}");
    assert!(percent >= 90, "{percent} % of the goodput without overload");
    assert!(refused > 0, "no request was refused");
    assert!(late < WORK + WAIT + SLACK, "{late:?}");
}

/// The result of a round.
#[derive(Default)]
struct Pressed {
    /// The time of each answer with 200.
    took: Vec<Duration>,
    refused: usize,
}

/// Runs this many clients for a second. Each sends its next request after an answer, or later after a 503.
async fn press(address: SocketAddr, clients: usize) -> Pressed {
    let end = Instant::now() + Duration::from_secs(1);
    let clients = (0..clients).map(|_| async move {
        let mut client = Http1::connect(address).await.unwrap();
        let mut pressed = Pressed::default();
        while Instant::now() < end {
            let began = Instant::now();
            let answer = client.get("/slow?ms=20").await.unwrap();
            match answer.status {
                200 => pressed.took.push(began.elapsed()),
                503 => {
                    pressed.refused += 1;
                    // As often as a client that receives responses.
                    tokio::time::sleep(WORK).await;
                }
                _ => panic!("{answer}"),
            }
        }
        pressed
    });
    let all = clients.collect::<JoinSet<_>>().join_all().await;
    all.into_iter().fold(Pressed::default(), |mut all, one| {
        all.took.extend(one.took);
        all.refused += one.refused;
        all
    })
}

#[tokio::test]
async fn slow_senders_do_not_block_other_requests() {
    const DRIBBLING: usize = 1500;
    make_room(DRIBBLING).unwrap();
    let launch = faulty()
        .set("http.max_in_flight", 8)
        .set("http.max_waiting", 8)
        .set("http.max_wait", "300ms")
        .set("http.request_timeout", "5m");
    let service = launch.ready().await;
    let address = service.http().await;
    let head = format!(
        "POST /upload HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n\r\nx",
        ROUNDS + 1
    );
    let mut slow = Vec::new();
    for _ in 0..DRIBBLING {
        slow.push(Conversation::begin(address, &head).await.unwrap());
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..ROUNDS {
        for part in slow.chunks_mut(DRIBBLING / 10) {
            for client in part {
                client.write("x").await.unwrap();
            }
            for request in [
                Request::get("/slow?ms=0"),
                Request::post("/upload").body("all of it"),
            ] {
                let began = Instant::now();
                let answer = http::send(address, request).await.unwrap();
                slowest = slowest.max(began.elapsed());
                assert_eq!(answer.status, 200, "{answer}");
            }
        }
    }
    println!("beside {DRIBBLING} that dribble, the slowest answer took {slowest:?}");
    assert!(slowest < 3 * SLACK, "{slowest:?}");
    // The slow requests complete as well.
    for mut client in slow {
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status, answer.text()), (200, "6"), "{answer}");
    }
}

/// How often a slow client sends a byte.
const ROUNDS: usize = 5;
