//! What stands between a socket and a handler, beside others who serve the same two routes: hyper
//! alone, axum alone, and axum with the layers that most services have. All are built in one go, with
//! the same profile and allocator, and run on one thread each, with their logs in files.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::run_cargo;
use crate::repository;
use crate::variant::Variant;

const ROUNDS: usize = 40;
const TURN: Duration = Duration::from_millis(100);
const CLIENTS: usize = 32;

/// Requests that are counted, beside twice as many: what start and stop cost is in both.
const COUNTED: usize = 4_000;

/// What is compared. axum is there twice: what it differs from itself is noise.
const CONTENDERS: [Contender; 5] = [
    Contender::Other("hyper"),
    AXUM,
    Contender::Ours,
    Contender::Other("usual"),
    AXUM,
];
const AXUM: Contender = Contender::Other("axum");
const NAMES: [&str; 4] = ["hyper alone", "axum alone", "the service", "axum as usual"];

const ROUTES: [Route; 2] = [
    Route {
        name: "A route that says hello",
        request: "GET /plain HTTP/1.1\r\nhost: here\r\n\r\n",
        end: "hello",
    },
    Route {
        name: "A route that takes JSON and gives JSON",
        request: concat!(
            "POST /json HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n",
            "content-length: 63\r\n\r\n",
            r#"{"name":"home","url":"https://example.org/status","interval":6}"#
        ),
        end: r#""interval":6}"#,
    },
];

struct Route {
    name: &'static str,
    request: &'static str,
    /// What its answer ends with.
    end: &'static str,
}

/// The section of docs/performance.md.
pub(super) fn section(target: &Path) -> Result<String> {
    let stage = Stage::built(target)?;
    let mut page = String::from(
        "\n## The edge\n\n\
         What a request costs with all that stands around a route – its id, its event in the log, its \
         metrics, OWASP's headers, caught panics, checked hosts, limits on what is in flight, on time \
         and on bodies – beside hyper alone, axum alone, and axum with the usual layers (tower-http's \
         `TraceLayer` with `fmt().json()` through tracing-appender, request ids, timeout and caught \
         panics, and metrics as in axum's example). One thread serves, and one asks over 32 \
         connections; logs go to files. Aim: 0.85 of axum alone and twice the usual in rate, at most \
         1.3 times axum's instructions, 3 allocations more, and no system call more but for the log.\n",
    );
    for route in &ROUTES {
        let rates = stage.race(route)?;
        let counts = [0, 1, 2, 3].map(|which| stage.count(CONTENDERS[which], route));
        writeln!(
            page,
            "\n{}:\n\n\
             | | requests a second | of axum alone | CPU of all threads | instructions | allocations | system calls |\n\
             |---|---|---|---|---|---|---|",
            route.name
        )?;
        for ((name, rate), counts) in NAMES.iter().zip(&rates).zip(counts) {
            let Counts {
                instructions,
                allocations,
                calls,
            } = counts?;
            let Rate {
                each_second,
                ratio,
                cost,
            } = rate;
            let [low, middle, high] = ratio;
            writeln!(
                page,
                "| {name} | {each_second:.0} | {middle:.2} ({low:.2} to {high:.2}) | {cost:.1} µs | \
                 {instructions:.0} | {allocations:.1} | {calls:.2} |"
            )?;
        }
        let [low, _, high] = rates[4].ratio;
        writeln!(
            page,
            "\naxum beside itself: {low:.2} to {high:.2}, for half of the rounds as above."
        )?;
    }
    page.push_str(
        "\nInstructions are callgrind's, allocations DHAT's, for one request after the other; system \
         calls strace's, with 32 connections: the difference of twice as many requests and as many, a \
         request.\n",
    );
    Ok(page)
}

#[derive(Debug, Clone, Copy)]
enum Contender {
    Ours,
    Other(&'static str),
}

/// What came of a race: medians, and the quartiles of what the rounds said.
struct Rate {
    each_second: f64,
    ratio: [f64; 3],
    /// Microseconds of all threads.
    cost: f64,
}

/// A request's, each.
struct Counts {
    instructions: f64,
    allocations: f64,
    calls: f64,
}

/// Where they are built, and run.
struct Stage {
    ours: PathBuf,
    others: PathBuf,
    directory: TempDir,
    clients: tokio::runtime::Runtime,
}

impl Stage {
    fn built(target: &Path) -> Result<Self> {
        let project = Variant::default().with("contenders").generate();
        run_cargo(project.dir(), target, &["build", "--release", "--bins"])?;
        Ok(Self {
            ours: target.join("release").join(project.name()),
            others: target.join("release/contender"),
            directory: tempfile::tempdir_in(repository::projects())?,
            clients: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        })
    }

    /// All of them, in turns, in one order and then in the other.
    fn race(&self, route: &'static Route) -> Result<Vec<Rate>> {
        let running: Vec<_> = CONTENDERS
            .iter()
            .map(|contender| self.start(*contender, &[]))
            .collect::<Result<_>>()?;
        let order = 0..running.len();
        let mut turns = vec![Vec::new(); running.len()];
        // The first round warms up.
        for round in 0..=ROUNDS {
            for which in order.clone().chain(order.clone().rev()) {
                let contender = &running[which];
                let before = contender.used()?;
                let began = Instant::now();
                let until = Until::Time(began + TURN);
                let answers = self
                    .clients
                    .block_on(ask(contender.address, route, until))?;
                let seconds = began.elapsed().as_secs_f64();
                let used = contender.used()?.saturating_sub(before).as_secs_f64();
                if round > 0 {
                    turns[which].push((answers / seconds, used / answers));
                }
            }
        }
        let sums = |turns: &[(f64, f64)]| -> Vec<f64> {
            let rounds = turns.chunks(2);
            rounds
                .map(|round| round.iter().map(|(rate, _)| rate).sum())
                .collect()
        };
        let axum = sums(&turns[1]);
        let rates = turns.iter().map(|turns| {
            let of_axum = sums(turns)
                .iter()
                .zip(&axum)
                .map(|(it, axum)| it / axum)
                .collect();
            Rate {
                each_second: quartiles(turns.iter().map(|(rate, _)| *rate).collect())[1],
                ratio: quartiles(of_axum),
                cost: 1e6 * quartiles(turns.iter().map(|(_, cost)| *cost).collect())[1],
            }
        });
        Ok(rates.collect())
    }

    fn count(&self, contender: Contender, route: &'static Route) -> Result<Counts> {
        let told = self.directory.path().join("told");
        let to = format!("--log-file={}", told.display());
        let out = self.directory.path().join("out");
        let out = out.display();
        let of = |tool: &[&str], clients, figure: &dyn Fn(&str) -> Option<f64>| {
            let [once, twice] = [1, 2].map(|times| {
                let running = self.start(contender, tool)?;
                let until = Until::Count(times * COUNTED / clients);
                self.clients
                    .block_on(ask_by(clients, running.address, route, until))?;
                drop(running);
                let told = read_when_written(&told)?;
                figure(&told).with_context(|| format!("no figure in: {told}"))
            });
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            anyhow::Ok((twice? - once?) / COUNTED as f64)
        };
        let callgrind = [
            "valgrind",
            "--tool=callgrind",
            &format!("--callgrind-out-file={out}"),
            &to,
        ];
        let dhat = [
            "valgrind",
            "--tool=dhat",
            &format!("--dhat-out-file={out}"),
            &to,
        ];
        let told = told.display().to_string();
        let strace = ["strace", "-D", "-f", "-c", "-o", &told];
        Ok(Counts {
            instructions: of(&callgrind, 1, &|told| after(told, "Collected : ", 0))?,
            allocations: of(&dhat, 1, &|told| after(told, "Total: ", 3))?,
            calls: of(&strace, CLIENTS, &|told| {
                let total = told.lines().find(|line| line.ends_with(" total"))?;
                total.split_whitespace().nth(3)?.parse().ok()
            })?,
        })
    }

    /// Starts it with nothing in front, or by way of a tool.
    fn start(&self, contender: Contender, tool: &[&str]) -> Result<Running> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = match tool {
            [] => Command::new(self.program(contender)),
            [tool, arguments @ ..] => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(self.program(contender));
                command
            }
        };
        match contender {
            Contender::Ours => command
                .args(["--set", &format!("http.listen={address}")])
                .args([
                    "--set=operator.listen=127.0.0.1:0",
                    "--set=log.format=json",
                    "--set=database.url=sqlite:contender.db",
                    "--set=shutdown.delay=0s",
                ]),
            Contender::Other(which) => command.args([which, &address.to_string()]),
        };
        let home = tempfile::tempdir_in(self.directory.path())?;
        let child = command
            .env("TOKIO_WORKER_THREADS", "1")
            .current_dir(&home)
            .stdin(Stdio::null())
            .stdout(File::create(home.path().join("log"))?)
            .stderr(File::create(home.path().join("errors"))?)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        let mut running = Running {
            child,
            address,
            home,
        };
        running.listens()?;
        Ok(running)
    }

    fn program(&self, contender: Contender) -> &Path {
        match contender {
            Contender::Ours => &self.ours,
            Contender::Other(_) => &self.others,
        }
    }
}

/// A server that runs until it is dropped.
struct Running {
    child: Child,
    address: SocketAddr,
    home: TempDir,
}

impl Running {
    fn listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_mins(1);
        while std::net::TcpStream::connect(self.address).is_err() {
            let is_over = self.child.try_wait()?.is_some() || Instant::now() > deadline;
            if is_over {
                let errors = fs::read_to_string(self.home.path().join("errors"))?;
                let log = fs::read_to_string(self.home.path().join("log"))?;
                bail!("it does not listen: {errors}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// How long its threads have been running by now.
    fn used(&self) -> Result<Duration> {
        let mut used = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let told = fs::read_to_string(thread?.path().join("schedstat"))?;
            let nanoseconds = told
                .split(' ')
                .next()
                .context("schedstat has a first field")?;
            used += Duration::from_nanos(nanoseconds.parse()?);
        }
        Ok(used)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        _ = kill_process(pid, Signal::TERM);
        _ = self.child.wait();
    }
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Time(Instant),
    /// So many answers each.
    Count(usize),
}

async fn ask(server: SocketAddr, route: &'static Route, until: Until) -> Result<f64> {
    ask_by(CLIENTS, server, route, until).await
}

/// How many answers all clients got.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn ask_by(
    clients: usize,
    server: SocketAddr,
    route: &'static Route,
    until: Until,
) -> Result<f64> {
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        asking.spawn(client(server, route, until));
    }
    let mut answers = 0;
    while let Some(got) = asking.join_next().await {
        answers += got??;
    }
    Ok(answers as f64)
}

async fn client(server: SocketAddr, route: &Route, until: Until) -> Result<usize> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::with_capacity(2048);
    let mut answers = 0;
    loop {
        let is_over = match until {
            Until::Time(end) => Instant::now() >= end,
            Until::Count(count) => answers >= count,
        };
        if is_over {
            return Ok(answers);
        }
        stream.write_all(route.request.as_bytes()).await?;
        answer.clear();
        while !answer.ends_with(route.end.as_bytes()) {
            let count = stream.read_buf(&mut answer).await?;
            ensure!(count > 0, "half an answer");
        }
        ensure!(answer.starts_with(b"HTTP/1.1 200 "), "no answer");
        answers += 1;
    }
}

/// What a tool says when the program that it looked at has ended.
fn read_when_written(told: &Path) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(told).unwrap_or_default();
        if text.contains("total\n") || text.contains("Collected : ") || text.contains("Total: ") {
            fs::remove_file(told)?;
            return Ok(text);
        }
        ensure!(Instant::now() < deadline, "the tool says nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A number that stands so many words behind these.
fn after(text: &str, words: &str, place: usize) -> Option<f64> {
    let (_, rest) = text.split_once(words)?;
    let number = rest.split_whitespace().nth(place)?;
    number.replace(',', "").parse().ok()
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
