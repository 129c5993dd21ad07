//! Runs the compared servers: on one thread each, with their logs in files, and with clients that
//! request one route repeatedly.

use std::fs::{self, File};
use std::net::{self, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use generator::succeed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::repository;
use crate::variant::{Project, Variant};

const CLIENTS: usize = 32;

/// The number of counted requests.
const COUNTED: usize = 4_000;

/// A server by its name in `contender`; `None` is the service.
pub(super) type Server = Option<&'static str>;

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

/// The built servers, and the thread of their clients.
pub(super) struct Stage {
    project: Project,
    clients: tokio::runtime::Runtime,
}

impl Stage {
    pub(super) fn build() -> Result<Self> {
        let project = Variant::default().with("contenders").generate();
        project.cargo(&["build", "--release", "--bins"]);
        let clients = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { project, clients })
    }

    /// Starts a server directly, or under a tool.
    pub(super) fn start(&self, server: Server, tool: &[&str]) -> Result<Running> {
        let address = net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let program = server.map_or(self.project.name(), |_| "contender");
        // `env` becomes the program.
        let mut command = Command::new("env");
        command.args(tool);
        command.arg(repository::services().join("release").join(program));
        match server {
            None => command.args([
                &format!("--set=http.listen={address}"),
                "--set=operator.listen=127.0.0.1:0",
                "--set=log.format=json",
                "--set=database.url=sqlite:contender.db",
                "--set=shutdown.delay=0s",
            ]),
            Some(which) => command.args([which, &address.to_string()]),
        };
        let directory = tempfile::tempdir()?;
        let mut child = command
            .env("TOKIO_WORKER_THREADS", "1")
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(File::create(directory.path().join("log"))?)
            .spawn()?;
        while net::TcpStream::connect(address).is_err() {
            ensure!(child.try_wait()?.is_none(), "{command:?} has ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Running {
            child,
            address,
            directory,
        })
    }

    /// The number of responses in this time.
    pub(super) fn answers(
        &self,
        server: &Running,
        route: &'static Route,
        time: Duration,
    ) -> Result<usize> {
        self.request(CLIENTS, server, route, Until::Time(Instant::now() + time))
    }

    /// The instructions of one request. The start, which calibrates clocks, is not counted.
    pub(super) fn instructions(&self, server: Server, route: &'static Route) -> Result<f64> {
        let file = "--log-file=report";
        let callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", file];
        let mut running = self.start(server, &callgrind)?;
        let switch = |to: &str| {
            let pid = running.child.id().to_string();
            succeed(Command::new("callgrind_control").args(["-i", to, &pid]))
        };
        self.request(1, &running, route, Until::Count(COUNTED / 10))?;
        switch("on")?;
        self.request(1, &running, route, Until::Count(COUNTED))?;
        switch("off")?;
        running.stop();
        let report = fs::read_to_string(running.directory.path().join("report"))?;
        let collected = report.split_once("Collected : ").context("no count")?.1;
        let collected = collected.lines().next().context("no count")?;
        Ok(collected.trim().parse::<f64>()? / float(COUNTED))
    }

    /// The allocations of one request: the difference between twice as many requests and as many. It
    /// excludes those of start and stop, which are in both.
    pub(super) fn allocations(&self, server: Server, route: &'static Route) -> Result<f64> {
        let [once, twice] = [1, 2].map(|times| {
            let dhat = ["valgrind", "-q", "--tool=dhat", "--dhat-out-file=dhat"];
            let mut running = self.start(server, &dhat)?;
            self.request(1, &running, route, Until::Count(times * COUNTED))?;
            running.stop();
            let profile = fs::read(running.directory.path().join("dhat"))?;
            let profile: Value = serde_json::from_slice(&profile)?;
            let points = profile["pps"].as_array().context("no allocations")?;
            let allocations = points.iter().filter_map(|point| point["tbk"].as_f64());
            anyhow::Ok(allocations.sum::<f64>())
        });
        Ok((twice? - once?) / float(COUNTED))
    }

    fn request(
        &self,
        clients: usize,
        server: &Running,
        route: &'static Route,
        until: Until,
    ) -> Result<usize> {
        self.clients.block_on(async {
            let clients = (0..clients).map(|_| client(server.address, route, until));
            let answers = clients.collect::<JoinSet<_>>().join_all().await;
            answers.into_iter().sum()
        })
    }
}

/// A server that is stopped on drop.
pub(super) struct Running {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Running {
    /// The CPU time of its threads so far.
    pub(super) fn cpu_time(&self) -> Result<Duration> {
        let mut used = Duration::ZERO;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
            let nanoseconds = schedstat.split(' ').next().unwrap_or_default();
            used += Duration::from_nanos(nanoseconds.parse()?);
        }
        Ok(used)
    }

    fn stop(&mut self) {
        _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Time(Instant),
    /// This many responses.
    Count(usize),
}

/// One client. It costs less than an HTTP library, since it shares the machine with the server.
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

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(super) fn float(count: usize) -> f64 {
    count as f64
}
