//! The recorder under paused time, with a database that can be away.

use std::sync::Mutex as Lock;

use mainstay::supervisor::Order;
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::due::End;
use super::super::due::tests::due;
use super::*;

const SETTINGS: Settings = Settings {
    batch: 3,
    batch_delay: Duration::from_secs(1),
};

/// The time of a transaction, and its targets.
type Batch = (Duration, Vec<i64>);

/// The transactions.
#[derive(Clone)]
struct Database {
    written: Arc<Lock<Vec<Batch>>>,
    changed: watch::Sender<usize>,
    is_away: watch::Sender<bool>,
    began: Instant,
}

impl Database {
    fn new() -> Self {
        Self {
            written: Arc::default(),
            changed: watch::Sender::new(0),
            is_away: watch::Sender::new(false),
            began: Instant::now(),
        }
    }

    async fn write(self, batch: Arc<[Report]>) -> Result<(), &'static str> {
        // A transaction takes time, and may be cancelled meanwhile.
        sleep(Duration::from_millis(10)).await;
        if *self.is_away.borrow() {
            return Err("the database is away");
        }
        let targets = batch.iter().map(|report| report.due.target).collect();
        let at = self.began.elapsed();
        self.written.lock().unwrap().push((at, targets));
        self.changed.send_modify(|count| *count += batch.len());
        Ok(())
    }

    async fn has(&self, count: usize) {
        let mut changed = self.changed.subscribe();
        changed.wait_for(|written| *written >= count).await.unwrap();
    }

    fn written(&self) -> Vec<(u128, Vec<i64>)> {
        let written = self.written.lock().unwrap();
        let batches = written.iter().cloned();
        batches
            .map(|(at, targets)| (at.as_millis(), targets))
            .collect()
    }

    fn targets(&self) -> Vec<i64> {
        self.written()
            .into_iter()
            .flat_map(|(_, targets)| targets)
            .collect()
    }
}

async fn recorder(supervisor: &Supervisor) -> (Database, Reports) {
    let database = Database::new();
    let written = database.clone();
    let write = move |batch| written.clone().write(batch);
    let reports = start(supervisor, SETTINGS, write).unwrap();
    // A stop does not begin a write that has not begun.
    tokio::task::yield_now().await;
    (database, reports)
}

fn report(target: i64) -> Report {
    Report {
        due: due(target),
        end: End::Postponed,
    }
}

#[tokio::test(start_paused = true)]
async fn results_are_written_in_batches_or_after_the_delay() {
    let supervisor = Supervisor::new();
    let (database, reports) = recorder(&supervisor).await;
    for target in 0..4 {
        reports.hand_over(report(target), || ()).await;
    }

    database.has(4).await;

    // Three at once, and the fourth after the delay.
    assert_eq!(database.written(), [(10, vec![0, 1, 2]), (1020, vec![3])]);
}

#[tokio::test(start_paused = true)]
async fn stop_writes_all_results_handed_over() {
    let supervisor = Supervisor::new();
    let (database, reports) = recorder(&supervisor).await;
    for target in 0..8 {
        reports.hand_over(report(target), || ()).await;
    }

    let aborted = supervisor.stop(Duration::from_secs(5)).await;

    assert!(aborted.is_empty(), "{aborted:?}");
    assert_eq!(database.targets(), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test(start_paused = true)]
async fn results_stay_in_memory_while_the_database_is_away() {
    let supervisor = Supervisor::new();
    let (database, reports) = recorder(&supervisor).await;
    database.is_away.send_replace(true);
    let all = 3 + 3 * i64::try_from(KEPT).unwrap();
    for target in 0..all {
        reports.hand_over(report(target), || ()).await;
    }
    let one_more = reports.hand_over(report(all), || ());
    let waits = timeout(Duration::from_mins(1), one_more).await;
    assert!(waits.is_err(), "there is room for what cannot be written");

    database.is_away.send_replace(false);
    reports.hand_over(report(all), || ()).await;
    database.has(usize::try_from(all).unwrap() + 1).await;

    assert_eq!(database.targets(), (0..=all).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn stop_writes_once_the_database_is_back() {
    let supervisor = Supervisor::new();
    let (database, reports) = recorder(&supervisor).await;
    database.is_away.send_replace(true);
    reports.hand_over(report(1), || ()).await;
    // By now its pauses are long.
    sleep(Duration::from_mins(1)).await;
    let back = async {
        sleep(Duration::from_secs(1)).await;
        database.is_away.send_replace(false);
    };

    let (aborted, ()) = tokio::join!(supervisor.stop(Duration::from_secs(2)), back);

    assert!(aborted.is_empty(), "{aborted:?}");
    assert_eq!(database.targets(), [1]);
}

#[tokio::test(start_paused = true)]
async fn stop_reports_results_it_cannot_write() {
    let supervisor = Supervisor::new();
    let (database, reports) = recorder(&supervisor).await;
    database.is_away.send_replace(true);
    reports.hand_over(report(1), || ()).await;
    let aborted = supervisor.stop(Duration::from_secs(2)).await;
    assert_eq!(aborted, [NAME]);
}

#[tokio::test(start_paused = true)]
async fn restarted_recorder_has_lost_nothing() {
    let supervisor = Supervisor::new();
    let (database, reports) = recorder(&supervisor).await;
    database.is_away.send_replace(true);
    for target in 0..5 {
        reports.hand_over(report(target), || ()).await;
    }
    sleep(Duration::from_secs(3)).await;
    supervisor.order(NAME, Order::Restart).unwrap();
    sleep(Duration::from_secs(30)).await;
    database.is_away.send_replace(false);

    database.has(5).await;

    assert_eq!(database.targets(), [0, 1, 2, 3, 4]);
}
