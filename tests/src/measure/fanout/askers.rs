//! The processes of the measurement: the service, the Python script, and the peer that they
//! request.

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

use super::{BATCH, URLS};
use crate::measure::run_cargo;
use crate::measure::stage::used;
use crate::python;
use crate::repository;
use crate::variant::Variant;

/// The number of requests in flight. The next one begins when one ends.
const REQUESTS: usize = 2;

/// The resources used to check this many URLs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) took: Duration,
    pub(super) used: Duration,
}

/// Sends a request, and returns the body of the response.
pub(super) fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<Vec<u8>> {
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
pub(super) enum Side {
    Ours,
    Python,
}

pub(super) const SIDES: [Side; 2] = [Side::Ours, Side::Python];

/// The directory in which they are built and run.
pub(super) struct Place {
    service: PathBuf,
    peer: PathBuf,
    python: PathBuf,
    directory: TempDir,
}

/// A process that is killed on drop.
pub(super) struct Running(Child);

pub(super) struct Peer {
    pub(super) address: SocketAddr,
    _process: Running,
}

/// A process that requests the peer.
pub(super) enum Asker {
    Ours {
        process: Running,
        requests: Vec<Vec<u8>>,
        connections: [TcpStream; REQUESTS],
    },
    Python(Python),
}

pub(super) struct Python {
    process: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(super) made_of: String,
}

impl Place {
    pub(super) fn built(target: &Path) -> Result<Self> {
        let project = Variant::default()
            .example("monitor")
            .with("fanout")
            .generate();
        run_cargo(project.dir(), target, &["build", "--release", "--bins"])?;
        let built = |name| target.join("release").join(name);
        Ok(Self {
            service: built(project.name()),
            peer: built("peer"),
            python: python::programs("fanout", "fanout-requirements.txt")?,
            directory: tempfile::tempdir_in(repository::projects())?,
        })
    }

    pub(super) fn peer(&self) -> Result<Peer> {
        let address = free_address()?;
        let process = Running::of(Command::new(&self.peer).arg(address.to_string()))?;
        connect(address)?;
        Ok(Peer {
            address,
            _process: process,
        })
    }

    pub(super) fn start(&self, side: Side, peer: &Peer, at_once: usize) -> Result<Asker> {
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

    pub(super) fn python(&self, peer: SocketAddr, at_once: usize) -> Result<Python> {
        let mut command = Command::new(self.python.join("python"));
        command
            .arg(repository::root().join("tests/fanout.py"))
            .args([format!("http://{peer}"), at_once.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = Running::of(&mut command)?;
        let input = process.0.stdin.take().context("a piped stream")?;
        let output = process.0.stdout.take().context("a piped stream")?;
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

/// A request to check this many different URLs of the peer.
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
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Ours { process, .. } => process.0.id(),
            Self::Python(python) => python.process.0.id(),
        }
    }

    /// Checks this many URLs, each of which must be up.
    pub(super) fn turn(&mut self, urls: usize) -> Result<Turn> {
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

/// Sends each request over the next free connection.
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

/// Reads only the totals at the end: parsing the whole report would distort the measurement.
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
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let (seconds, up) = line
            .trim()
            .split_once(' ')
            .context("the script has ended")?;
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

/// Connects as soon as the address accepts connections.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > deadline => bail!("cannot connect: {error}"),
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
