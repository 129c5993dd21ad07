//! The contest on one engine, `Db`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mainstay::Database;
use mainstay::database::{OnStart, Settings};
use mainstay::testing::{TestEngine, database_settings};
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Error, Executor, Pool};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{BEGIN, Db, options};

const ROWS: i64 = 1_000;
const TASKS: i64 = 16;
/// For the settings of both pools.
const CONNECTIONS: u32 = 10;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// The number and the length of the rounds.
struct Rounds {
    alone: usize,
    turn: Duration,
    crowded: usize,
    crowded_turn: Duration,
}

impl Rounds {
    fn from_args() -> Self {
        if std::env::args().any(|argument| argument == "--quick") {
            return Self {
                alone: 2,
                turn: Duration::from_millis(5),
                crowded: 1,
                crowded_turn: Duration::from_millis(50),
            };
        }
        Self {
            alone: 50,
            turn: Duration::from_millis(40),
            crowded: 5,
            crowded_turn: Duration::from_millis(500),
        }
    }
}

/// The way of a statement to the database.
#[derive(Debug)]
enum Way {
    Ours(Database<Db>),
    Sqlx(Rival),
    Dedicated(Box<<Db as sqlx::Database>::Connection>),
}

/// The pools of sqlx: on Postgres, both are the same.
#[derive(Debug, Clone)]
struct Rival {
    reads: Pool<Db>,
    writes: Pool<Db>,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    /// Reads a row by its key.
    Read,
    /// Changes a row.
    Write,
    /// Reads and then changes a row, in a transaction.
    ReadThenWrite,
}

/// The result of one turn of many tasks.
#[derive(Debug, Default)]
struct Crowded {
    done: u32,
    failed: u32,
    longest: Duration,
    first_error: Option<String>,
}

pub(crate) async fn run() {
    let rounds = Rounds::from_args();
    let scratch = Db::scratch();
    let ours = Database::new(&settings(&scratch.url), &[]).expect("a URL");
    ours.connect().await.expect("a database");
    fill(&ours).await.expect("a table");
    let dedicated = <Db as sqlx::Database>::Connection::connect(&scratch.url).await;
    let mut ways = [
        Way::Ours(ours),
        Way::Sqlx(Rival::new(&scratch.url)),
        Way::Dedicated(Box::new(dedicated.expect("a connection"))),
    ];
    for work in [Work::Read, Work::Write] {
        println!("{work:?}, one at a time, on idle processors");
        alone(work, &mut ways, &rounds).await;
        println!("{work:?}, one at a time, on processors that are awake");
        let _awake = Awake::new();
        alone(work, &mut ways, &rounds).await;
    }
    for work in [Work::Read, Work::Write, Work::ReadThenWrite] {
        at_once(work, &ways, &rounds).await;
    }
    let [Way::Ours(ours), Way::Sqlx(rival), _] = ways else {
        unreachable!("they were put in this order");
    };
    rival.reads.close().await;
    rival.writes.close().await;
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

impl Rival {
    fn new(url: &str) -> Self {
        let (read_options, write_options) = options(url);
        let reads = pool(CONNECTIONS).connect_lazy_with(read_options);
        let writes = write_options.map(|options| pool(1).connect_lazy_with(options));
        Self {
            writes: writes.unwrap_or_else(|| reads.clone()),
            reads,
        }
    }
}

fn pool(connections: u32) -> PoolOptions<Db> {
    const PING_TIMEOUT: Duration = Duration::from_millis(500);
    let pool = PoolOptions::new().max_connections(connections);
    let pool = pool
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false);
    pool.before_acquire(
        |connection: &mut <Db as sqlx::Database>::Connection, metadata| {
            Box::pin(async move {
                if metadata.idle_for >= Duration::from_secs(1) {
                    let ping = timeout(PING_TIMEOUT, connection.ping()).await;
                    ping.map_err(|_| Error::PoolTimedOut)??;
                }
                Ok(true)
            })
        },
    )
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

/// One statement at a time: the cost of each.
async fn alone(work: Work, ways: &mut [Way; 3], rounds: &Rounds) {
    let mut turns: [Vec<f64>; 3] = Default::default();
    // The first round warms up.
    for round in 0..=rounds.alone {
        for which in [0, 1, 2, 2, 1, 0] {
            let cost = turn(work, &mut ways[which], rounds.turn).await;
            if round > 0 {
                turns[which].push(cost);
            }
        }
    }
    let rival = turns[1].clone();
    for (name, costs) in ["ours", "sqlx's pools", "a connection"].iter().zip(turns) {
        let ratios = ratios(&costs, &rival);
        let (cost, [low, middle, high]) = (quartiles(costs)[1], quartiles(ratios));
        println!(
            "  {name:>12}: {cost:>7.1} µs each, {middle:.2} of sqlx's pools \
             (half of the rounds: {low:.2} to {high:.2})"
        );
    }
}

/// The average time of a statement, in microseconds.
async fn turn(work: Work, way: &mut Way, length: Duration) -> f64 {
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < length {
        let id = i64::from(done) % ROWS;
        let result = match way {
            Way::Ours(database) => ours(work, database, id).await,
            Way::Sqlx(rival) => theirs(work, rival, id).await,
            Way::Dedicated(connection) => match work {
                Work::Read => read(&mut **connection, id).await,
                _ => write(&mut **connection, id).await,
            },
        };
        result.expect("no other statement runs");
        done += 1;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(done)
}

/// Many tasks at once: the statements per second, the failed ones, and the slowest one.
async fn at_once(work: Work, ways: &[Way; 3], rounds: &Rounds) {
    println!("{work:?}, {TASKS} at once");
    let length = rounds.crowded_turn;
    let mut turns: [Vec<Crowded>; 2] = Default::default();
    for _ in 0..rounds.crowded {
        for which in [0, 1, 1, 0] {
            turns[which].push(crowd(work, &ways[which], length).await);
        }
    }
    let rate = |turns: &[Crowded]| {
        let rate = |turn: &Crowded| f64::from(turn.done) / length.as_secs_f64();
        quartiles(turns.iter().map(rate).collect())[1]
    };
    let rival = rate(&turns[1]);
    for (name, turns) in ["ours", "sqlx's pools"].iter().zip(turns) {
        let rate = rate(&turns);
        let failed: u32 = turns.iter().map(|turn| turn.failed).sum();
        let longest = turns.iter().map(|turn| turn.longest).max();
        let error = turns.iter().find_map(|turn| turn.first_error.clone());
        println!(
            "  {name:>12}: {rate:>6.0} a second, {:.2} of sqlx's pools, {failed} failed{}, \
             the longest took {:.0} ms",
            rate / rival,
            error.map_or_else(String::new, |error| format!(" ({error})")),
            longest.unwrap_or_default().as_secs_f64() * 1e3
        );
    }
}

async fn crowd(work: Work, way: &Way, length: Duration) -> Crowded {
    let end = Instant::now() + length;
    let mut crowd = JoinSet::new();
    for id in 0..TASKS {
        match way {
            Way::Ours(database) => {
                let database = database.clone();
                crowd.spawn(async move { one(end, || ours(work, &database, id)).await });
            }
            Way::Sqlx(rival) => {
                let rival = rival.clone();
                crowd.spawn(async move { one(end, || theirs(work, &rival, id)).await });
            }
            Way::Dedicated(_) => unreachable!("it cannot be shared"),
        }
    }
    let mut all = Crowded::default();
    for one in crowd.join_all().await {
        all.done += one.done;
        all.failed += one.failed;
        all.longest = all.longest.max(one.longest);
        all.first_error = all.first_error.or(one.first_error);
    }
    all
}

/// One of the tasks, until the end of the turn.
async fn one<F>(end: Instant, work: impl Fn() -> F) -> Crowded
where
    F: Future<Output = Result<(), Error>>,
{
    let mut so_far = Crowded::default();
    while Instant::now() < end {
        let began = Instant::now();
        match work().await {
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
}

async fn ours(work: Work, database: &Database<Db>, id: i64) -> Result<(), Error> {
    match work {
        Work::Read => read(database.read(), id).await,
        Work::Write => write(database.write(), id).await,
        Work::ReadThenWrite => {
            let mut transaction = database.begin().await?;
            read(&mut *transaction, id).await?;
            write(&mut *transaction, id).await?;
            transaction.commit().await
        }
    }
}

async fn theirs(work: Work, rival: &Rival, id: i64) -> Result<(), Error> {
    match work {
        Work::Read => read(&rival.reads, id).await,
        Work::Write => write(&rival.writes, id).await,
        Work::ReadThenWrite => {
            let writes = rival.writes.clone();
            let begun = tokio::spawn(async move { writes.begin_with(BEGIN).await });
            let mut transaction = begun.await.expect("it does not panic")?;
            read(&mut *transaction, id).await?;
            write(&mut *transaction, id).await?;
            transaction.commit().await
        }
    }
}

async fn read<'e>(executor: impl Executor<'e, Database = Db>, id: i64) -> Result<(), Error> {
    let query = sqlx::query_scalar("SELECT size FROM things WHERE id = $1");
    query.bind(id).fetch_one(executor).await.map(|_: i64| ())
}

async fn write<'e>(executor: impl Executor<'e, Database = Db>, id: i64) -> Result<(), Error> {
    let query = sqlx::query("UPDATE things SET size = size + 1 WHERE id = $1");
    query.bind(id).execute(executor).await.map(drop)
}

/// The ratio of each round, of turns at about the same time.
fn ratios(turns: &[f64], rival: &[f64]) -> Vec<f64> {
    let sum = |round: &[f64]| round.iter().sum::<f64>();
    let rounds = turns.chunks(2).zip(rival.chunks(2));
    rounds
        .map(|(turns, rival)| sum(turns) / sum(rival))
        .collect()
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
