//! What it costs to ask many URLs at once: the service, by way of its batches, beside a script as it is
//! usual in Python. Both ask the same peer, in turns, and are one thread each.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::stage::used;
use super::{mebibytes, run_cargo};
use crate::crowd::make_room;
use crate::python;
use crate::repository;
use crate::variant::Variant;

const URLS: usize = 10_000;

/// URLs in one request.
const BATCH: usize = 1_000;

/// Requests that are under way: the next one begins where one comes to its end.
const REQUESTS: usize = 2;

/// How many are asked at once, and in how many rounds; a first one warms up.
const RACES: [(usize, usize); 3] = [(10, 3), (100, 9), (1_000, 9)];

/// Of these, memory is looked at.
const USUAL: usize = 100;

/// The section of docs/performance.md.
pub(super) fn section(target: &Path) -> Result<String> {
    let place = Place::built(target)?;
    // For the peer, which has the connections of both.
    make_room(2 * RACES[RACES.len() - 1].0)?;
    let peer = place.peer()?;
    let latency = latency(peer.address)?;
    let mut races = Vec::new();
    for (at_once, rounds) in RACES {
        races.push(race(&place, &peer, at_once, rounds)?);
    }
    let mut memory = Vec::new();
    for urls in [BATCH, URLS] {
        let mut peaks = Vec::new();
        for side in SIDES {
            let mut asker = place.start(side, &peer, USUAL)?;
            asker.turn(urls)?;
            peaks.push(peak(asker.pid())?);
        }
        memory.push((urls, peaks));
    }
    page(&place, latency, &races, &memory)
}

fn page(
    place: &Place,
    latency: Duration,
    races: &[Race],
    memory: &[(usize, Vec<u64>)],
) -> Result<String> {
    let versions = place
        .python(SocketAddr::from(([127, 0, 0, 1], 1)), 1)?
        .made_of;
    let milliseconds = latency.as_secs_f64() * 1e3;
    let mut page = format!(
        "\n## Many URLs at once\n\n\
         What it costs to check {URLS} URLs: the service, which is asked for {BATCH} of them with each \
         `POST /v1/checks`, beside a script as it is usual in Python (`tests/fanout.py`: {versions}). The \
         peer keeps its connections, and answers after {milliseconds:.1} ms, as one client alone sees it: so \
         many times that for those asked one after the other is the least that it can take. Each is one \
         thread, and the peer has the other core. Aim: a fifth of Python's CPU for a check, within 10 % of the \
         least time, and memory that does not grow with the number of URLs. `cargo run -- measure fanout` \
         prints\n\n\
         | at once | CPU for a check | Python's | of ours | time | Python's | the least | ours of it |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for race in races {
        writeln!(page, "{}", race.row(latency))?;
    }
    page.push_str(
        "\nOf CPU it is that of all threads, with what it takes to read the request and to write the answer. Where many are asked at once, it is the processor that says how long it takes.\n\n\
         | the most memory (RSS), 100 at once | ours | Python's |\n|---|---|---|\n",
    );
    for (urls, peaks) in memory {
        let peaks: Vec<_> = peaks.iter().map(|peak| mebibytes(*peak)).collect();
        writeln!(page, "| {urls} URLs | {} |", peaks.join(" | "))?;
    }
    Ok(page)
}

/// What came of a race, round by round: ours, and Python's.
struct Race {
    at_once: usize,
    turns: [Vec<Turn>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    took: Duration,
    used: Duration,
}

/// Both in turns, in one order and then in the other.
fn race(place: &Place, peer: &Peer, at_once: usize, rounds: usize) -> Result<Race> {
    let mut askers = [
        place.start(Side::Ours, peer, at_once)?,
        place.start(Side::Python, peer, at_once)?,
    ];
    let mut turns = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let turn = askers[which].turn(URLS)?;
            if round > 0 {
                turns[which].push(turn);
            }
        }
    }
    Ok(Race { at_once, turns })
}

impl Race {
    fn row(&self, latency: Duration) -> String {
        let [ours, pythons] = &self.turns;
        let cost = |turn: &Turn| turn.used.as_secs_f64() * 1e6 / count(URLS);
        let took = |turn: &Turn| turn.took.as_secs_f64();
        let least = latency.as_secs_f64() * count(URLS) / count(self.at_once);
        let ratios = ours.iter().zip(pythons);
        let [low, middle, high] = quartiles(ratios.map(|(ours, python)| cost(python) / cost(ours)));
        let median = |turns: &[Turn], of: &dyn Fn(&Turn) -> f64| quartiles(turns.iter().map(of))[1];
        let time = median(ours, &took);
        format!(
            "| {} | {:.1} µs | {:.1} µs | {middle:.1} times ({low:.1} to {high:.1}) | {time:.2} s | {:.2} s | {least:.2} s | {:.2} |",
            self.at_once,
            median(ours, &cost),
            median(pythons, &cost),
            median(pythons, &took),
            time / least,
        )
    }
}

fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(things: usize) -> f64 {
    things as f64
}

/// How long one request takes, of a client that has nothing else to do.
fn latency(peer: SocketAddr) -> Result<Duration> {
    let mut stream = TcpStream::connect(peer)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    for _ in 0..201 {
        let began = Instant::now();
        exchange(&mut stream, b"GET / HTTP/1.1\r\nhost: peer\r\n\r\n")?;
        times.push(began.elapsed());
    }
    Ok(super::median(times))
}

/// Sends a request, and gives the body of what is answered.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), None);
    while !head.ends_with("\r\n\r\n") {
        let begin = head.len();
        ensure!(reader.read_line(&mut head)? > 0, "half an answer: {head}");
        if let Some(value) = head[begin..].strip_prefix("content-length:") {
            length = Some(value.trim().parse()?);
        }
    }
    let mut body = vec![0; length.with_context(|| format!("no length in {head}"))?];
    reader.read_exact(&mut body)?;
    let is_fine = head.starts_with("HTTP/1.1 200 ");
    ensure!(is_fine, "{head}{}", String::from_utf8_lossy(&body));
    Ok(body)
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Ours,
    Python,
}

const SIDES: [Side; 2] = [Side::Ours, Side::Python];

/// Where they are built, and run.
struct Place {
    service: PathBuf,
    peer: PathBuf,
    python: PathBuf,
    directory: TempDir,
}

/// A process that runs until this is dropped.
struct Running(Child);

struct Peer {
    address: SocketAddr,
    _process: Running,
}

/// Whoever asks the peer.
enum Asker {
    Ours {
        process: Running,
        requests: Vec<Vec<u8>>,
        connections: [TcpStream; REQUESTS],
    },
    Python(Python),
}

struct Python {
    process: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    made_of: String,
}

impl Place {
    fn built(target: &Path) -> Result<Self> {
        let project = Variant::default().with("fanout").generate();
        run_cargo(project.dir(), target, &["build", "--release", "--bins"])?;
        let built = |name| target.join("release").join(name);
        Ok(Self {
            service: built(project.name()),
            peer: built("peer"),
            python: python::programs("fanout", "fanout-requirements.txt")?,
            directory: tempfile::tempdir_in(repository::projects())?,
        })
    }

    fn peer(&self) -> Result<Peer> {
        let address = free_address()?;
        let process = Running::of(Command::new(&self.peer).arg(address.to_string()))?;
        connect(address)?;
        Ok(Peer {
            address,
            _process: process,
        })
    }

    fn start(&self, side: Side, peer: &Peer, at_once: usize) -> Result<Asker> {
        match side {
            Side::Ours => self.ours(peer.address, at_once),
            Side::Python => Ok(Asker::Python(self.python(peer.address, at_once)?)),
        }
    }

    fn ours(&self, peer: SocketAddr, at_once: usize) -> Result<Asker> {
        let address = free_address()?;
        let home = tempfile::tempdir_in(self.directory.path())?.keep();
        let mut command = Command::new(&self.service);
        for (key, value) in [
            ("http.listen", address.to_string()),
            ("http.request_timeout", "60s".to_owned()),
            ("operator.listen", "127.0.0.1:0".to_owned()),
            ("log.format", "json".to_owned()),
            ("monitor.allow_private", "true".to_owned()),
            ("monitor.checks_at_once", at_once.to_string()),
            ("monitor.batch_at_once", at_once.to_string()),
            ("monitor.per_host", at_once.to_string()),
            ("monitor.idle_connections", at_once.to_string()),
            ("monitor.asked_per_minute", String::new()),
        ] {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command
            .env("TOKIO_WORKER_THREADS", "1")
            .current_dir(&home)
            .stdout(fs::File::create(home.join("log"))?);
        let process = Running::of(&mut command)?;
        let connections = [connect(address)?, connect(address)?];
        Ok(Asker::Ours {
            process,
            requests: (0..URLS / BATCH)
                .map(|batch| request(peer, batch))
                .collect(),
            connections,
        })
    }

    fn python(&self, peer: SocketAddr, at_once: usize) -> Result<Python> {
        let mut command = Command::new(self.python.join("python"));
        command
            .arg(repository::root().join("tests/fanout.py"))
            .args([format!("http://{peer}"), at_once.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Running::of(&mut command)?;
        let input = process.0.stdin.take().context("it is piped")?;
        let output = process.0.stdout.take().context("it is piped")?;
        let mut output = BufReader::new(output);
        let mut made_of = String::new();
        output.read_line(&mut made_of)?;
        Ok(Python {
            process,
            input,
            output,
            made_of: made_of.trim().to_owned(),
        })
    }
}

/// So many URLs of the peer, none twice.
fn request(peer: SocketAddr, batch: usize) -> Vec<u8> {
    let numbers = batch * BATCH..(batch + 1) * BATCH;
    let urls: Vec<_> = numbers
        .map(|number| format!("http://{peer}/{number}"))
        .collect();
    let body = serde_json::json!({ "urls": urls }).to_string();
    let length = body.len();
    let head = format!(
        "POST /v1/checks HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    [head, body].concat().into_bytes()
}

impl Asker {
    fn pid(&self) -> u32 {
        match self {
            Self::Ours { process, .. } => process.0.id(),
            Self::Python(python) => python.process.0.id(),
        }
    }

    /// Checks so many URLs, each of which must be up.
    fn turn(&mut self, urls: usize) -> Result<Turn> {
        let pid = self.pid();
        let before = used(pid)?;
        let took = match self {
            Self::Ours {
                requests,
                connections,
                ..
            } => {
                let began = Instant::now();
                send(&requests[..urls / BATCH], connections)?;
                began.elapsed()
            }
            Self::Python(python) => python.turn(urls)?,
        };
        Ok(Turn {
            took,
            used: used(pid)?.saturating_sub(before),
        })
    }
}

/// Sends each over whichever connection is free.
fn send(requests: &[Vec<u8>], connections: &mut [TcpStream]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let next = || requests.get(next.fetch_add(1, Relaxed));
    thread::scope(|scope| {
        let clients = connections.iter_mut().map(|connection| {
            scope.spawn(|| {
                while let Some(request) = next() {
                    all_are_up(&exchange(connection, request)?)?;
                }
                Ok(())
            })
        });
        let clients: Vec<_> = clients.collect();
        let mut ended = clients.into_iter().map(thread::ScopedJoinHandle::join);
        ended.try_for_each(|ended| ended.expect("it does not panic"))
    })
}

/// The totals are at the end: to read all of it would take longer than it should here.
fn all_are_up(report: &[u8]) -> Result<()> {
    let end = String::from_utf8_lossy(&report[report.len().saturating_sub(200)..]);
    ensure!(
        end.contains(&format!("\"up\":{BATCH},")),
        "not all are up: {end}"
    );
    Ok(())
}

impl Python {
    fn turn(&mut self, urls: usize) -> Result<Duration> {
        writeln!(self.input, "{urls}")?;
        let mut told = String::new();
        self.output.read_line(&mut told)?;
        let (seconds, up) = told.trim().split_once(' ').context("it has ended")?;
        ensure!(up.parse::<usize>()? == urls, "{up} of {urls} are up");
        Ok(Duration::from_secs_f64(seconds.parse()?))
    }
}

impl Running {
    fn of(command: &mut Command) -> Result<Self> {
        let child = command.spawn();
        Ok(Self(child.with_context(|| format!("{command:?}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A connection, once somebody listens.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => bail!("nobody listens: {error}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The most memory that a process has ever had, in bytes.
fn peak(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB"));
    Ok(kibibytes.context("VmHWM has a value")?.parse::<u64>()? * 1024)
}
