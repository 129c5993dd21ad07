//! A temporary Postgres server for one test.
//!
//! - It requires the installed server programs and no running server: the cluster is in a temporary
//!   directory, on a free port. As root, it runs as an unprivileged user, as Postgres demands.
//! - It trades durability for speed, unless [`durable`](Options::durable) is set.
//! - It can be stopped, killed and restarted on the same data and port.
//! - Dropping it removes the process and the directory.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use self::installation::Installation;
use crate::{
    log::{Line, Log},
    service::process::{self, Process},
};

mod installation;

const PATIENCE: Duration = Duration::from_mins(1);
/// Below the range from which Linux takes ports for connections: a load test must not take the port
/// of a server that restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const USER: &str = "postgres";

/// A running server, or a stopped one that can be restarted.
#[derive(Debug)]
pub struct Postgres {
    /// `None` while it is stopped.
    process: Option<Process>,
    // Dropped after the process that uses it.
    directory: TempDir,
    installation: Installation,
    options: Options,
    port: u16,
}

/// The options of a server; start with `Postgres::options()`.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a server is started with them"]
pub struct Options {
    password: Option<String>,
    settings: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Cuts connections, rolls transactions back, and writes everything to disk.
    Fast,
    /// Stops at once: the next start must recover.
    Immediate,
}

/// Whether the server programs are installed. If not, [`Postgres::start`] says what to install.
pub fn is_installed() -> bool {
    Installation::find().is_ok()
}

impl Postgres {
    pub async fn start() -> anyhow::Result<Postgres> {
        Postgres::options().start().await
    }

    pub fn options() -> Options {
        let options = Options {
            password: None,
            settings: BTreeMap::new(),
        };
        options.durability("off")
    }

    /// The URL for the setting `database.url`. The user is a superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_through(self.address(), database)
    }

    /// The same URL through a proxy at this address.
    pub fn url_through(&self, address: SocketAddr, database: &str) -> String {
        let secret = match &self.options.password {
            Some(password) => format!(":{password}"),
            None => String::new(),
        };
        format!("postgres://{USER}{secret}@{address}/{database}")
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        self.query("postgres", &format!("CREATE DATABASE \"{name}\""))
            .await
            .map(drop)
    }

    /// The output of `psql`: a line for each row, columns separated by a
    /// vertical bar. It connects over the socket, not the port.
    pub async fn query(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(self.installation.program("psql"));
        psql.args(["-X", "-At", "-U", USER, "-d", database, "-c", sql])
            .args(["-v", "ON_ERROR_STOP=1", "-p", &self.port.to_string(), "-h"])
            .arg(self.directory.path())
            .env_clear();
        if let Some(password) = &self.options.password {
            psql.env("PGPASSWORD", password);
        }
        let printed = run(psql)
            .await
            .with_context(|| format!("the query failed: {sql}"))?;
        Ok(printed.trim_end_matches('\n').to_owned())
    }

    pub async fn stop(&mut self, how: Stop) -> anyhow::Result<()> {
        let signal = match how {
            Stop::Fast => Signal::INT,
            Stop::Immediate => Signal::QUIT,
        };
        if let Some(process) = &self.process {
            process.signal(signal);
            let end = process.end(PATIENCE).await;
            end.with_context(|| format!("{signal:?} did not end the server"))?;
            self.process = None;
        }
        Ok(())
    }

    /// Starts again, on the same data and port; stops first (`Fast`), if it is running.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop(Stop::Fast).await?;
        let (bound, port) = (self.launch().await?, self.port);
        ensure!(bound, "port {port} was taken while the server was stopped");
        Ok(())
    }

    /// Initialises a cluster without starting it.
    async fn prepare(options: Options) -> anyhow::Result<Postgres> {
        let installation = Installation::find()?;
        // Not TMPDIR: the path of a socket is limited to about a hundred bytes, and the server's
        // user must be able to access it.
        let directory = TempDir::with_prefix_in("mainstay-pg-", "/tmp")?;
        installation.give(directory.path())?;
        let postgres = Postgres {
            process: None,
            directory,
            installation,
            options,
            port: 0,
        };

        let mut initdb = postgres.command("initdb");
        initdb.arg("-D").arg(postgres.data());
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "-U", USER]);
        match &postgres.options.password {
            None => initdb.args(["-A", "trust"]),
            Some(password) => {
                let file = postgres.directory.path().join("password");
                fs::write(&file, password)?;
                postgres.installation.give(&file)?;
                initdb.args(["-A", "scram-sha-256", "--pwfile"]).arg(file)
            }
        };
        run(initdb)
            .await
            .context("cannot initialise a PostgreSQL cluster")?;
        Ok(postgres)
    }

    /// Starts the server, and waits until it accepts connections. False if another process uses its
    /// port.
    async fn launch(&mut self) -> anyhow::Result<bool> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        command.arg("-k").arg(self.directory.path());
        let settings = self.options.settings.iter();
        let settings = settings.map(|(name, value)| format!("{name}={value}"));
        let own = [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            // In files of the cluster: after a kill, they are removed with the directory.
            "dynamic_shared_memory_type=mmap".into(),
        ];
        for setting in own.into_iter().chain(settings) {
            command.args(["-c", &setting]);
        }

        let log = Log::new(PATIENCE);
        let process = Process::spawn(&mut command, &log).context("cannot start PostgreSQL")?;
        let bound = log.find(|line| match line {
            Line::Stderr(text) if text.contains("ready to accept connections") => Some(true),
            Line::Stderr(text) if text.contains("Address already in use") => Some(false),
            _ => None,
        });
        let bound = bound.await.map_err(anyhow::Error::msg)?;
        if bound {
            self.process = Some(process);
        } else {
            // It exits and cleans up by itself.
            process.end(PATIENCE).await;
        }
        Ok(bound)
    }

    /// A program of the server, as the server's user.
    fn command(&self, program: &str) -> Command {
        let mut command = self.installation.command(program);
        // The harness waits for untranslated messages.
        command
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir(self.directory.path());
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

impl Options {
    /// Requires this password (SCRAM). [`Postgres::url`] contains it as it is.
    pub fn password(mut self, password: &str) -> Options {
        self.password = Some(password.to_owned());
        self
    }

    /// Makes commits survive a crash, which is slower.
    pub fn durable(self) -> Options {
        self.durability("on")
    }

    fn durability(self, value: &str) -> Options {
        let settings = ["fsync", "synchronous_commit", "full_page_writes"];
        let set = |options: Options, name: &&str| options.set(name, value);
        settings.iter().fold(self, set)
    }

    /// Sets any parameter of the server, such as `max_connections`.
    pub fn set(mut self, name: &str, value: impl Display) -> Options {
        self.settings.insert(name.to_owned(), value.to_string());
        self
    }

    pub async fn start(self) -> anyhow::Result<Postgres> {
        const ATTEMPTS: u16 = 20;
        let mut postgres = Postgres::prepare(self).await?;
        // Only binding a port proves that it is free, so let the server try it.
        let random = RandomState::new();
        for attempt in 0..ATTEMPTS {
            let offset = random.hash_one(attempt) % u64::from(PORTS.end - PORTS.start);
            postgres.port = PORTS.start + u16::try_from(offset).expect("less than the range");
            if postgres.launch().await? {
                return Ok(postgres);
            }
        }
        bail!("no free port for PostgreSQL: each of {ATTEMPTS} in {PORTS:?} is taken")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end_by(Signal::QUIT);
        }
    }
}

/// Runs a program to its end. Returns its standard output, or an error with its standard error.
async fn run(command: Command) -> anyhow::Result<String> {
    let name = command.get_program().display().to_string();
    let output = process::run(command, PATIENCE).await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {error}");
    String::from_utf8(output.stdout).with_context(|| format!("{name} did not print UTF-8"))
}
