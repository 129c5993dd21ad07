//! Runs the compared servers: on one thread each, with their logs in files, and with clients that
//! request one route repeatedly.

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
use crate::command::succeed;
use crate::repository;
use crate::variant::{Project, Variant};

const CLIENTS: usize = 32;

/// The number of counted requests.
const COUNTED: usize = 4_000;
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const EACH: f64 = COUNTED as f64;

pub(super) struct Route {
    pub(super) name: &'static str,
    request: &'static str,
    /// The end of the response.
    end: &'static str,
}

pub(super) const HELLO: Route = Route {
    name: "A route that returns a greeting",
    request: "GET /plain HTTP/1.1\r\nhost: here\r\n\r\n",
    end: "hello",
};

pub(super) const JSON: Route = Route {
    name: "A route that receives and returns JSON",
    request: concat!(
        "POST /json HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n",
        "content-length: 63\r\n\r\n",
        r#"{"name":"home","url":"https://example.org/status","interval":6}"#
    ),
    end: r#""interval":6}"#,
};

#[derive(Debug, Clone, Copy)]
pub(super) enum Contender {
    Ours,
    Other(&'static str),
}

/// Counts for each request.
pub(super) struct Counts {
    pub(super) instructions: f64,
    pub(super) allocations: f64,
    pub(super) calls: f64,
}

/// The directory in which the servers are built and run.
pub(super) struct Stage {
    project: Project,
    target: PathBuf,
    directory: TempDir,
    clients: tokio::runtime::Runtime,
}

impl Stage {
    pub(super) fn built(target: &Path) -> Result<Self> {
        let stage = Self {
            project: Variant::default().with("contenders").generate(),
            target: target.to_owned(),
            directory: tempfile::tempdir_in(repository::projects())?,
            clients: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
        };
        let build = ["build", "--release", "--bins"];
        run_cargo(stage.project.dir(), target, &build)?;
        Ok(stage)
    }

    /// The number of responses in this time.
    pub(super) fn answers(
        &self,
        from: &Running,
        route: &'static Route,
        time: Duration,
    ) -> Result<f64> {
        let until = Until::Time(Instant::now() + time);
        self.clients
            .block_on(ask(CLIENTS, from.address, route, until))
    }

    pub(super) fn count(&self, contender: Contender, route: &'static Route) -> Result<Counts> {
        let out = format!("--dhat-out-file={}", self.file("out"));
        let to = format!("--log-file={}", self.file("report"));
        let dhat = ["valgrind", "--tool=dhat", &out, &to];
        let allocations = |report: &str| after(report, "Total: ", 3);
        let strace = ["strace", "-D", "-f", "-c", "-o", &self.file("report")];
        let calls = |report: &str| {
            let total = report.lines().find(|line| line.ends_with(" total"))?;
            total.split_whitespace().nth(3)?.parse().ok()
        };
        Ok(Counts {
            instructions: self.instructions(contender, route)?,
            allocations: self.of_each(contender, route, (&dhat, 1), &allocations)?,
            calls: self.of_each(contender, route, (&strace, CLIENTS), &calls)?,
        })
    }

    /// Instructions for each request: the median of three counts. Only the requests are counted,
    /// not the start, which calibrates clocks.
    fn instructions(&self, contender: Contender, route: &'static Route) -> Result<f64> {
        let out = format!("--callgrind-out-file={}", self.file("out"));
        let to = format!("--log-file={}", self.file("report"));
        let tool = "--tool=callgrind";
        let callgrind = ["valgrind", tool, "--instr-atstart=no", &out, &to];
        let mut counts = [0.0; 3];
        for count in &mut counts {
            let running = self.start(contender, &callgrind)?;
            let asked = |count| ask(1, running.address, route, Until::Count(count));
            self.clients.block_on(asked(COUNTED / 10))?;
            running.counted("on")?;
            self.clients.block_on(asked(COUNTED))?;
            running.counted("off")?;
            drop(running);
            let report = read_when_written(self.file("report").as_ref())?;
            let collected = after(&report, "Collected : ", 0);
            *count = collected.with_context(|| format!("no figure in: {report}"))? / EACH;
        }
        counts.sort_by(f64::total_cmp);
        Ok(counts[1])
    }

    /// The difference between a tool's figures for twice as many requests and for as many, per
    /// request. It excludes the costs of start and stop, which are in both.
    fn of_each(
        &self,
        contender: Contender,
        route: &'static Route,
        (tool, clients): (&[&str], usize),
        figure: &dyn Fn(&str) -> Option<f64>,
    ) -> Result<f64> {
        let [once, twice] = [1, 2].map(|times| {
            let running = self.start(contender, tool)?;
            let until = Until::Count(times * COUNTED / clients);
            self.clients
                .block_on(ask(clients, running.address, route, until))?;
            drop(running);
            let report = read_when_written(self.file("report").as_ref())?;
            figure(&report).with_context(|| format!("no figure in: {report}"))
        });
        Ok((twice? - once?) / EACH)
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Starts it directly, or under a tool.
    pub(super) fn start(&self, contender: Contender, tool: &[&str]) -> Result<Running> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // `env` becomes the program.
        let mut command = Command::new("env");
        command.args(tool).arg(self.program(contender));
        match contender {
            Contender::Ours => command.args([
                &format!("--set=http.listen={address}"),
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

    fn program(&self, contender: Contender) -> PathBuf {
        let name = match contender {
            Contender::Ours => self.project.name(),
            Contender::Other(_) => "contender",
        };
        self.target.join("release").join(name)
    }
}

/// A server that is stopped on drop.
pub(super) struct Running {
    child: Child,
    address: SocketAddr,
    home: TempDir,
}

impl Running {
    fn listens(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_mins(1);
        while std::net::TcpStream::connect(self.address).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let [errors, log] =
                    ["errors", "log"].map(|file| fs::read_to_string(self.home.path().join(file)));
                bail!("the server does not listen: {}\n{}", errors?, log?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Turns callgrind's instrumentation on or off.
    fn counted(&self, switch: &str) -> Result<()> {
        let mut control = Command::new("callgrind_control");
        control.args(["-i", switch, &self.child.id().to_string()]);
        succeed(&mut control).map(drop)
    }

    /// The CPU time of its threads so far.
    pub(super) fn used(&self) -> Result<Duration> {
        let mut used = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
            let nanoseconds = schedstat.split(' ').next().unwrap_or_default();
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
    /// This many responses for each client.
    Count(usize),
}

/// The number of responses to all clients.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn ask(
    clients: usize,
    server: SocketAddr,
    route: &'static Route,
    until: Until,
) -> Result<f64> {
    let asking: JoinSet<_> = (0..clients).map(|_| client(server, route, until)).collect();
    let answers: usize = asking.join_all().await.into_iter().sum::<Result<_>>()?;
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

/// Waits for the report that a tool writes when its program has ended.
fn read_when_written(file: &Path) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.contains("total\n") || text.contains("Collected : ") || text.contains("Total: ") {
            fs::remove_file(file)?;
            return Ok(text);
        }
        ensure!(Instant::now() < deadline, "the tool wrote no report");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The number that follows this text after `place` words.
fn after(text: &str, words: &str, place: usize) -> Option<f64> {
    let (_, rest) = text.split_once(words)?;
    let number = rest.split_whitespace().nth(place)?;
    number.replace(',', "").parse().ok()
}
