//! The same request from several clients, or to several processes, at once.

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::metrics::pools::Numbers;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_concurrent_requests_does_the_work() {
    let fixture = Fixture::new().await;
    // Half of them come to another process.
    let other = Arc::new(service(fixture.scratch.url(), |_| {}, false));
    let mut sending = JoinSet::new();
    for number in 0..100 {
        let service = if number % 2 == 0 {
            &fixture.service
        } else {
            &other
        };
        let service = Arc::clone(service);
        sending.spawn(async move {
            loop {
                let sent = send(&service, "POST /things", "one", "a").await;
                if sent.code != "idempotency_key_in_use" {
                    return sent;
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    let sent = sending.join_all().await;
    let first: Vec<_> = sent.iter().filter(|sent| !sent.replayed).collect();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(
        sent.iter()
            .all(|sent| sent.status == 201 && sent.body == "a")
    );
    assert_eq!((fixture.things().await, fixture.kept().await), (1, 1));
}

#[tokio::test]
async fn cancelled_request_leaves_nothing_and_can_be_retried() {
    let fixture = Fixture::new().await;
    let holding = fixture.holding();
    let leaving = holding.send("one", "a");
    tokio::select! {
        sent = leaving => unreachable!("{sent:?}"),
        () = holding.service.begun.notified() => {}
    }
    let again = loop {
        let again = fixture.send("one", "a").await;
        if again.code != "idempotency_key_in_use" {
            break again;
        }
        sleep(Duration::from_millis(1)).await;
    };
    assert_eq!((again.status, again.replayed), (201, false));
    assert_eq!((fixture.things().await, fixture.kept().await), (1, 1));
}

#[tokio::test]
async fn request_in_progress_is_not_started_again() {
    let fixture = Fixture::new().await;
    let holding = fixture.holding();
    let second = async {
        holding.service.begun.notified().await;
        holding.send("one", "a").await
    };
    // Either it is refused at once, or it waits until the first one has ended.
    let asking = async {
        let mut second = std::pin::pin!(second);
        let waits = async {
            let waits = |numbers: &Numbers| numbers.waiting > 0;
            while !holding
                .service
                .keys
                .database()
                .numbers()
                .values()
                .any(waits)
            {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let refused = tokio::select! {
            refused = &mut second => Some(refused),
            () = waits => None,
        };
        holding.service.go_on.notify_one();
        match refused {
            Some(refused) => refused,
            None => second.await,
        }
    };
    let (first, second) = tokio::join!(holding.send("one", "a"), asking);
    assert_eq!((first.status, first.replayed), (201, false));
    assert!(
        second == replay_of(&first) || second.code == "idempotency_key_in_use",
        "{second:?}"
    );
    assert_eq!(fixture.send("one", "a").await, replay_of(&first));
    assert_eq!(fixture.things().await, 1);
}
