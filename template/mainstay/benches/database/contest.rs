//! The contest on one engine, `Db`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay::Database;
use mainstay::database::{OnStart, Settings};
use mainstay::testing::{TestEngine, database_settings};
use sqlx::pool::PoolOptions;
use sqlx::{Error, Executor, Pool};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{BEGIN, Db, options};
use crate::common::{quartiles, ratios, take_turns};

const ROWS: i64 = 1_000;
const TASKS: i64 = 16;
/// For the settings of both pools.
const CONNECTIONS: u32 = 10;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

type Connection = <Db as sqlx::Database>::Connection;

/// The number of rounds, and the length of a turn.
#[derive(Clone, Copy)]
struct Pace(usize, Duration);

#[derive(Debug, Clone, Copy)]
enum Work {
    /// Reads a row by its key.
    Read,
    /// Changes a row.
    Write,
    /// Reads and then changes a row, in a transaction.
    ReadThenWrite,
}

/// The way of a statement to the database.
enum Way {
    Ours(Database<Db>),
    /// On Postgres, both pools are the same.
    Sqlx {
        reads: Pool<Db>,
        writes: Pool<Db>,
    },
    /// One connection, which is never contended.
    Dedicated(Mutex<Connection>),
}

/// The result of one turn of many tasks.
#[derive(Default)]
struct Crowded {
    done: u32,
    failed: u32,
    longest: Duration,
    first_error: Option<String>,
}

pub(crate) async fn run() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let paces = if is_quick {
        [(2, 5), (1, 50)]
    } else {
        [(50, 40), (5, 500)]
    };
    let [one_at_a_time, at_once] =
        paces.map(|(rounds, millis)| Pace(rounds, Duration::from_millis(millis)));

    let scratch = Db::scratch();
    let ours = Database::new(&settings(&scratch.url), &[]).expect("a URL");
    ours.connect().await.expect("a database");
    fill(&ours).await.expect("a table");
    let dedicated = <Connection as sqlx::Connection>::connect(&scratch.url).await;
    let ways = [
        Way::Ours(ours.clone()),
        Way::sqlx(&scratch.url),
        Way::Dedicated(Mutex::new(dedicated.expect("a connection"))),
    ];
    let ways = ways.map(Arc::new);
    for work in [Work::Read, Work::Write] {
        println!("{work:?}, one at a time, on idle processors");
        compare_alone(work, &ways, one_at_a_time).await;
        println!("{work:?}, one at a time, on processors that are awake");
        let _awake = Awake::new();
        compare_alone(work, &ways, one_at_a_time).await;
    }
    for work in [Work::Read, Work::Write, Work::ReadThenWrite] {
        println!("{work:?}, {TASKS} at once");
        compare_crowds(work, &ways, at_once).await;
    }
    if let Way::Sqlx { reads, writes } = &*ways[1] {
        reads.close().await;
        writes.close().await;
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    assert!(ours.close(deadline).await.is_empty());
}

fn settings(url: &str) -> Settings {
    Settings {
        max_connections: CONNECTIONS,
        acquire_timeout: ACQUIRE_TIMEOUT,
        statement_timeout: Duration::from_secs(30),
        hold_warning: Duration::from_secs(30),
        on_start: OnStart::Fail,
        ..database_settings(url)
    }
}

impl Way {
    fn sqlx(url: &str) -> Self {
        let (read_options, write_options) = options(url);
        let reads = pool(CONNECTIONS).connect_lazy_with(read_options);
        let writes = write_options.map(|options| pool(1).connect_lazy_with(options));
        let writes = writes.unwrap_or_else(|| reads.clone());
        Self::Sqlx { reads, writes }
    }

    async fn perform(&self, work: Work, id: i64) -> Result<(), Error> {
        match (self, work) {
            (Self::Ours(database), Work::Read) => read(database.read(), id).await,
            (Self::Ours(database), Work::Write) => write(database.write(), id).await,
            (Self::Ours(database), Work::ReadThenWrite) => {
                let mut transaction = database.begin().await?;
                read(&mut *transaction, id).await?;
                write(&mut *transaction, id).await?;
                transaction.commit().await
            }
            (Self::Sqlx { reads, .. }, Work::Read) => read(reads, id).await,
            (Self::Sqlx { writes, .. }, Work::Write) => write(writes, id).await,
            (Self::Sqlx { writes, .. }, Work::ReadThenWrite) => {
                let writes = writes.clone();
                let begun = tokio::spawn(async move { writes.begin_with(BEGIN).await });
                let mut transaction = begun.await.expect("it does not panic")?;
                read(&mut *transaction, id).await?;
                write(&mut *transaction, id).await?;
                transaction.commit().await
            }
            (Self::Dedicated(connection), Work::Read) => {
                read(&mut *connection.lock().await, id).await
            }
            (Self::Dedicated(connection), _) => write(&mut *connection.lock().await, id).await,
        }
    }
}

fn pool(connections: u32) -> PoolOptions<Db> {
    const PING_TIMEOUT: Duration = Duration::from_millis(500);
    let pool = PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false);
    pool.before_acquire(|connection: &mut Connection, metadata| {
        Box::pin(async move {
            if metadata.idle_for >= Duration::from_secs(1) {
                let ping = timeout(PING_TIMEOUT, sqlx::Connection::ping(connection)).await;
                ping.map_err(|_| Error::PoolTimedOut)??;
            }
            Ok(true)
        })
    })
}

async fn fill(database: &Database<Db>) -> Result<(), Error> {
    let table = "CREATE TABLE things (id BIGINT PRIMARY KEY, size BIGINT NOT NULL)";
    sqlx::query(table).execute(database.write()).await?;
    let mut transaction = database.begin().await?;
    for id in 0..ROWS {
        let row = sqlx::query("INSERT INTO things (id, size) VALUES ($1, 0)");
        row.bind(id).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Keeps every processor awake, with threads that yield to all others: to wake a processor costs more than a read.
struct Awake(Arc<AtomicBool>);

impl Awake {
    fn new() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || {
                // On Linux, of this thread only.
                rustix::process::nice(19).expect("a lower priority");
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(is_over)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One statement at a time: the cost of each, in microseconds.
async fn compare_alone(work: Work, ways: &[Arc<Way>; 3], Pace(rounds, length): Pace) {
    let turn = async |way: usize| {
        let began = Instant::now();
        let mut done = 0;
        while began.elapsed() < length {
            let result = ways[way].perform(work, i64::from(done) % ROWS).await;
            result.expect("no other statement runs");
            done += 1;
        }
        began.elapsed().as_secs_f64() * 1e6 / f64::from(done)
    };
    let turns: [Vec<f64>; 3] = take_turns(rounds, turn).await;
    let rival = turns[1].clone();
    for (name, costs) in ["ours", "sqlx's pools", "a connection"].iter().zip(turns) {
        let [low, middle, high] = quartiles(ratios(&costs, &rival));
        let cost = quartiles(costs)[1];
        println!(
            "  {name:>12}: {cost:>7.1} µs each, {middle:.2} of sqlx's pools \
             (half of the rounds: {low:.2} to {high:.2})"
        );
    }
}

/// Many tasks at once: the statements per second, the failed ones, and the slowest one.
async fn compare_crowds(work: Work, ways: &[Arc<Way>; 3], Pace(rounds, length): Pace) {
    let turn = async |way: usize| crowd(work, &ways[way], length).await;
    let turns: [Vec<Crowded>; 2] = take_turns(rounds, turn).await;
    let rates = turns.each_ref().map(|turns| {
        let rate = |turn: &Crowded| f64::from(turn.done) / length.as_secs_f64();
        quartiles(turns.iter().map(rate).collect())[1]
    });
    for ((name, turns), rate) in ["ours", "sqlx's pools"].iter().zip(turns).zip(rates) {
        let all = turns.into_iter().fold(Crowded::default(), Crowded::with);
        let error = all.first_error.map(|error| format!(" ({error})"));
        println!(
            "  {name:>12}: {rate:>6.0} a second, {:.2} of sqlx's pools, {} failed{}, \
             the longest took {:.0} ms",
            rate / rates[1],
            all.failed,
            error.unwrap_or_default(),
            all.longest.as_secs_f64() * 1e3
        );
    }
}

impl Crowded {
    fn with(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            failed: self.failed + other.failed,
            longest: self.longest.max(other.longest),
            first_error: self.first_error.or(other.first_error),
        }
    }
}

async fn crowd(work: Work, way: &Arc<Way>, length: Duration) -> Crowded {
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for id in 0..TASKS {
        let way = Arc::clone(way);
        tasks.spawn(async move {
            let mut so_far = Crowded::default();
            while Instant::now() < end {
                let began = Instant::now();
                match way.perform(work, id).await {
                    // A statement that ends after the turn does not count.
                    Ok(()) => so_far.done += u32::from(Instant::now() < end),
                    Err(error) => {
                        so_far.failed += 1;
                        so_far.first_error.get_or_insert(error.to_string());
                    }
                }
                so_far.longest = so_far.longest.max(began.elapsed());
            }
            so_far
        });
    }
    let turns = tasks.join_all().await;
    turns.into_iter().fold(Crowded::default(), Crowded::with)
}

async fn read<'e>(executor: impl Executor<'e, Database = Db>, id: i64) -> Result<(), Error> {
    let query = sqlx::query_scalar("SELECT size FROM things WHERE id = $1");
    query.bind(id).fetch_one(executor).await.map(|_: i64| ())
}

async fn write<'e>(executor: impl Executor<'e, Database = Db>, id: i64) -> Result<(), Error> {
    let query = sqlx::query("UPDATE things SET size = size + 1 WHERE id = $1");
    query.bind(id).execute(executor).await.map(drop)
}
