//! A temporary Postgres server for one test.
//!
//! - It requires the installed server programs and no running server: the cluster is in a temporary
//!   directory. As root, it runs as an unprivileged user, as Postgres demands.
//! - It listens on a loopback address of its own, so that no other server has its port.
//! - It does not wait for the disk. Commits survive a kill of the server, but not of the machine.
//! - It can be stopped, killed and restarted on the same data and address.
//! - Dropping it removes the process and the directory.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use generator::prerequisites::postgres_programs;
use rustix::process::{Signal, getuid};
use tempfile::TempDir;

use crate::{
    log::{Line, Log},
    service::process::{self, Process},
};

const PATIENCE: Duration = Duration::from_mins(1);
/// Below the range from which Linux takes ports for connections: a client must not take the port of
/// a server that restarts.
const PORT: u16 = 20_432;
const USER: &str = "postgres";
/// The user and the group that run the server if the tests run as root.
const NOBODY: u32 = 65_534;

/// A running server, or a stopped one that can be restarted.
#[derive(Debug)]
pub struct Postgres {
    /// `None` while it is stopped.
    process: Option<Process>,
    // Dropped after the process that uses it.
    directory: TempDir,
    programs: PathBuf,
    address: SocketAddr,
    password: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Cuts connections, rolls transactions back, and writes everything to disk.
    Fast,
    /// Stops at once: the next start must recover.
    Immediate,
}

impl Postgres {
    pub async fn start() -> Result<Postgres> {
        Postgres::start_with(None).await
    }

    /// Requires this password (SCRAM). [`Postgres::url`] contains it as it is.
    pub async fn with_password(password: &str) -> Result<Postgres> {
        Postgres::start_with(Some(password.to_owned())).await
    }

    async fn start_with(password: Option<String>) -> Result<Postgres> {
        let [a, b, c, ..] = RandomState::new().hash_one(PORT).to_le_bytes();
        let host = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        let mut postgres = Postgres {
            process: None,
            // Not TMPDIR: the path of a socket is limited to about a hundred bytes, and the server's
            // user must be able to access it.
            directory: TempDir::with_prefix_in("mainstay-pg-", "/tmp")?,
            programs: postgres_programs()?,
            address: (host, PORT).into(),
            password,
        };
        give(postgres.directory.path())?;
        let mut initdb = postgres.command("initdb");
        initdb.arg("-D").arg(postgres.data());
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C", "-U", USER]);
        if let Some(password) = &postgres.password {
            let file = postgres.directory.path().join("password");
            fs::write(&file, password)?;
            give(&file)?;
            initdb.args(["-A", "scram-sha-256", "--pwfile"]).arg(file);
        } else {
            initdb.args(["-A", "trust"]);
        }
        let initialised = run(initdb).await;
        initialised.context("cannot initialise a PostgreSQL cluster")?;
        postgres.launch().await?;
        Ok(postgres)
    }

    /// The URL for the setting `database.url`. The user is a superuser.
    pub fn url(&self, database: &str) -> String {
        self.url_through(self.address, database)
    }

    /// The same URL through a proxy at this address.
    pub fn url_through(&self, address: SocketAddr, database: &str) -> String {
        let secret = self.password.as_ref();
        let secret = secret.map_or_else(String::new, |password| format!(":{password}"));
        format!("postgres://{USER}{secret}@{address}/{database}")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn create_database(&self, name: &str) -> Result<()> {
        let create = format!("CREATE DATABASE \"{name}\"");
        self.query("postgres", &create).await.map(drop)
    }

    /// The output of `psql`: a line for each row, columns separated by a
    /// vertical bar. It connects over the socket, not the port.
    pub async fn query(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-At", "-U", USER, "-d", database, "-c", sql])
            .args(["-v", "ON_ERROR_STOP=1", "-p", &PORT.to_string(), "-h"])
            .arg(self.directory.path())
            .env_clear();
        if let Some(password) = &self.password {
            psql.env("PGPASSWORD", password);
        }
        let printed = run(psql).await;
        let printed = printed.with_context(|| format!("the query failed: {sql}"))?;
        Ok(printed.trim_end_matches('\n').to_owned())
    }

    pub async fn stop(&mut self, how: Stop) -> Result<()> {
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

    /// Starts again, on the same data and address; stops first (`Fast`), if it is running.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop(Stop::Fast).await?;
        self.launch().await
    }

    /// Starts the server, and waits until it accepts connections.
    async fn launch(&mut self) -> Result<()> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        command.arg("-k").arg(self.directory.path());
        for setting in [
            &format!("listen_addresses={}", self.address.ip()),
            &format!("port={PORT}"),
            "fsync=off",
            "full_page_writes=off",
            // In files of the cluster: after a kill, they are removed with the directory.
            "dynamic_shared_memory_type=mmap",
        ] {
            command.args(["-c", setting]);
        }
        let log = Log::new(PATIENCE);
        let process = Process::spawn(&mut command, &log).context("cannot start PostgreSQL")?;
        let ready = log.find(|line| match line {
            Line::Stderr(text) if text.contains("ready to accept connections") => Some(()),
            _ => None,
        });
        ready.await.map_err(anyhow::Error::msg)?;
        self.process = Some(process);
        Ok(())
    }

    /// A program of the server, as the server's user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        if getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
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

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.end_by(Signal::QUIT);
        }
    }
}

/// Makes the server's user the owner of a file or directory.
fn give(path: &Path) -> io::Result<()> {
    if getuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

/// Runs a program to its end. Returns its standard output, or an error with its standard error.
async fn run(command: Command) -> Result<String> {
    let name = command.get_program().display().to_string();
    let output = process::run(command, PATIENCE).await?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {error}");
    String::from_utf8(output.stdout).with_context(|| format!("{name} did not print UTF-8"))
}
