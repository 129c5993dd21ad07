//! The contest on one engine, `Db`.

use std::time::{Duration, Instant};

use mainstay::Database;
use mainstay::database::{OnStart, Settings};
use mainstay::testing::{Scratch, database_settings};
use sqlx::{Connection as _, Error, Executor, Pool};
use tokio::task::JoinSet;

use super::Db;

const ROUNDS: usize = 50;
const TURN: Duration = Duration::from_millis(40);

const CROWD: i64 = 16;
const CROWD_ROUNDS: usize = 5;
const CROWD_TURN: Duration = Duration::from_millis(500);

const ROWS: i64 = 1_000;

/// By which way a statement gets to the database.
#[derive(Debug)]
enum Way {
    Ours(Database<Db>),
    Stock(Pool<Db>),
    Dedicated(Box<<Db as sqlx::Database>::Connection>),
}

#[derive(Debug, Clone, Copy)]
enum Work {
    /// One row by its key.
    Read,
    /// The same, changed.
    Write,
    /// One after the other, in a transaction.
    ReadThenWrite,
}

/// What came of one turn of many at once.
#[derive(Debug, Default)]
struct Crowded {
    done: u32,
    failed: u32,
    longest: Duration,
    first_error: Option<String>,
}

pub(crate) async fn run() {
    let scratch = Scratch::<Db>::new();
    let ours = Database::new(&settings(scratch.url()), &[]).expect("a URL");
    ours.connect().await.expect("a database");
    fill(&ours).await.expect("a table");
    let stock = Pool::connect(scratch.url()).await.expect("it is there");
    let dedicated = <Db as sqlx::Database>::Connection::connect(scratch.url()).await;
    let mut ways = [
        Way::Ours(ours),
        Way::Stock(stock),
        Way::Dedicated(Box::new(dedicated.expect("it is there"))),
    ];
    for work in [Work::Read, Work::Write] {
        alone(work, &mut ways).await;
    }
    for work in [Work::Read, Work::Write, Work::ReadThenWrite] {
        at_once(work, &ways).await;
    }
    let [Way::Ours(ours), Way::Stock(stock), _] = ways else {
        unreachable!("they were put in this order");
    };
    stock.close().await;
    assert!(
        ours.close(tokio::time::Instant::now() + Duration::from_secs(5))
            .await
            .is_empty()
    );
}

fn settings(url: &str) -> Settings<Db> {
    // As many and as long as sqlx's pool has by itself.
    Settings {
        max_connections: 10,
        acquire_timeout: Duration::from_secs(30),
        statement_timeout: Duration::from_secs(30),
        hold_warning: Duration::from_secs(30),
        on_start: OnStart::Fail,
        ..database_settings(url)
    }
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

/// One at a time: what each statement costs.
async fn alone(work: Work, ways: &mut [Way; 3]) {
    println!("{work:?}, one at a time");
    let mut turns: [Vec<f64>; 3] = Default::default();
    // The first round warms up.
    for round in 0..=ROUNDS {
        for which in [0, 1, 2, 2, 1, 0] {
            let cost = turn(work, &mut ways[which]).await;
            if round > 0 {
                turns[which].push(cost);
            }
        }
    }
    let stock = turns[1].clone();
    for (name, costs) in ["ours", "sqlx's pool", "a connection"].iter().zip(turns) {
        let ratios = ratios(&costs, &stock);
        let (cost, [low, middle, high]) = (quartiles(costs)[1], quartiles(ratios));
        println!(
            "  {name:>12}: {cost:>7.1} µs each, {middle:.2} of sqlx's pool \
             (half of the rounds: {low:.2} to {high:.2})"
        );
    }
}

/// How long one took on average, in microseconds.
async fn turn(work: Work, way: &mut Way) -> f64 {
    let began = Instant::now();
    let mut done = 0;
    while began.elapsed() < TURN {
        let id = i64::from(done) % ROWS;
        let result = match way {
            Way::Ours(database) => ours(work, database, id).await,
            Way::Stock(pool) => stock(work, pool, id).await,
            Way::Dedicated(connection) => match work {
                Work::Read => read(&mut **connection, id).await,
                _ => write(&mut **connection, id).await,
            },
        };
        result.expect("nobody is in the way");
        done += 1;
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(done)
}

/// Many at once: what gets done, and what becomes of them.
async fn at_once(work: Work, ways: &[Way; 3]) {
    println!("{work:?}, {CROWD} at once");
    let mut turns: [Vec<Crowded>; 2] = Default::default();
    for _ in 0..CROWD_ROUNDS {
        for which in [0, 1, 1, 0] {
            turns[which].push(crowd(work, &ways[which]).await);
        }
    }
    let rate = |turns: &[Crowded]| {
        let rate = |turn: &Crowded| f64::from(turn.done) / CROWD_TURN.as_secs_f64();
        quartiles(turns.iter().map(rate).collect())[1]
    };
    let stock = rate(&turns[1]);
    for (name, turns) in ["ours", "sqlx's pool"].iter().zip(turns) {
        let rate = rate(&turns);
        let failed: u32 = turns.iter().map(|turn| turn.failed).sum();
        let longest = turns.iter().map(|turn| turn.longest).max();
        let error = turns.iter().find_map(|turn| turn.first_error.clone());
        println!(
            "  {name:>12}: {rate:>6.0} a second, {:.2} of sqlx's pool, {failed} failed{}, \
             the longest took {:.0} ms",
            rate / stock,
            error.map_or_else(String::new, |error| format!(" ({error})")),
            longest.unwrap_or_default().as_secs_f64() * 1e3
        );
    }
}

async fn crowd(work: Work, way: &Way) -> Crowded {
    let end = Instant::now() + CROWD_TURN;
    let mut crowd = JoinSet::new();
    for id in 0..CROWD {
        match way {
            Way::Ours(database) => {
                let database = database.clone();
                crowd.spawn(async move { one(end, || ours(work, &database, id)).await });
            }
            Way::Stock(pool) => {
                let pool = pool.clone();
                crowd.spawn(async move { one(end, || stock(work, &pool, id)).await });
            }
            Way::Dedicated(_) => unreachable!("it has nothing to share"),
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

/// One of many, until the end.
async fn one<F>(end: Instant, work: impl Fn() -> F) -> Crowded
where
    F: Future<Output = Result<(), Error>>,
{
    let mut so_far = Crowded::default();
    while Instant::now() < end {
        let began = Instant::now();
        match work().await {
            // What comes too late does not count.
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

async fn stock(work: Work, pool: &Pool<Db>, id: i64) -> Result<(), Error> {
    match work {
        Work::Read => read(pool, id).await,
        Work::Write => write(pool, id).await,
        Work::ReadThenWrite => {
            let mut transaction = pool.begin().await?;
            read(&mut *transaction, id).await?;
            write(&mut *transaction, id).await?;
            transaction.commit().await
        }
    }
}

async fn read<'e>(by: impl Executor<'e, Database = Db>, id: i64) -> Result<(), Error> {
    let query = sqlx::query_scalar("SELECT size FROM things WHERE id = $1");
    query.bind(id).fetch_one(by).await.map(|_: i64| ())
}

async fn write<'e>(by: impl Executor<'e, Database = Db>, id: i64) -> Result<(), Error> {
    let query = sqlx::query("UPDATE things SET size = size + 1 WHERE id = $1");
    query.bind(id).execute(by).await.map(drop)
}

/// One ratio a round: it compares what ran at about the same time.
fn ratios(turns: &[f64], stock: &[f64]) -> Vec<f64> {
    let sum = |round: &[f64]| round.iter().sum::<f64>();
    let rounds = turns.chunks(2).zip(stock.chunks(2));
    rounds
        .map(|(turns, stock)| sum(turns) / sum(stock))
        .collect()
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
