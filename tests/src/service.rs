//! Runs the real binary as a real process: starts it, sends requests and signals, and ends it with
//! the test.
//!
//! - It starts with a clean environment: `PATH`, `HOME` and the test's variables, its own working
//!   directory, every listener on a free port, a JSON log. Variables that the developer has
//!   exported do not leak in.
//! - Tests wait for its events, never for a fixed time (see [`Log`]).
//! - It leaves nothing behind: on drop, also after a panic, it is killed and reaped, and its
//!   directory is removed.
//!
//! Preparing returns a `Result`; expectations panic.

use std::{
    fmt::{self, Display},
    fs::{self, File},
    io::Write,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    panic::Location,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::param::clock_ticks_per_second;
pub use rustix::process::Signal;
use tempfile::TempDir;

pub use self::launch::{Launch, Output};
use self::process::Process;
use crate::{
    http::{self, Answer},
    log::{Event, Log},
};

mod launch;
pub(crate) mod process;

/// A running process under test.
#[derive(Debug)]
pub struct Service {
    // Fields drop in this order: first the process, then its working directory.
    process: Process,
    directory: PathBuf,
    _temporary: Option<TempDir>,
    log: Log,
    timeout: Duration,
    /// When it was started, or when the last signal was sent.
    since: Mutex<Instant>,
}

/// The outcome of a process that has ended.
#[derive(Debug)]
pub struct Exit {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// The time from the last signal, or else from the start, to the end.
    pub took: Duration,
    pub events: Vec<Event>,
    pub stderr: String,
    log: Log,
}

impl Service {
    pub fn of(binary: impl Into<PathBuf>) -> Launch {
        Launch::new(binary.into())
    }

    #[track_caller]
    pub fn event(&self, message: &str) -> impl Future<Output = Event> {
        self.log.event(message)
    }

    #[track_caller]
    pub fn wait_for(
        &self,
        what: &str,
        fits: impl FnMut(&Event) -> bool,
    ) -> impl Future<Output = Event> {
        self.log.wait_for(what, fits)
    }

    /// Waits for the event `ready`.
    #[track_caller]
    pub fn ready(self) -> impl Future<Output = Service> {
        let caller = Location::caller();
        async move {
            self.log
                .expect(caller, "the event `ready`", |event| {
                    event.message == "ready"
                })
                .await;
            self
        }
    }

    #[track_caller]
    pub fn http(&self) -> impl Future<Output = SocketAddr> {
        self.address(Location::caller(), "http")
    }

    #[track_caller]
    pub fn operator(&self) -> impl Future<Output = SocketAddr> {
        self.address(Location::caller(), "operator")
    }

    async fn address(&self, caller: &Location<'_>, listener: &str) -> SocketAddr {
        let what = format!("the event `listening` of the listener `{listener}`");
        let of_listener =
            |event: &Event| event.message == "listening" && event.field("listener") == listener;
        let event = self.log.expect(caller, &what, of_listener).await;
        let address = event
            .field("address")
            .as_str()
            .and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("{caller}: no address to connect to in: {event}"))
    }

    /// Sends a GET request to the operator's listener.
    pub async fn ask(&self, path: &str) -> Answer {
        let answer = http::get(self.operator().await, path).await;
        answer.expect("the operator's listener answers")
    }

    /// The current value of a series in `/metrics`: `name`, or `name{label="value"}`.
    pub async fn metric(&self, series: &str) -> f64 {
        let page = self.ask("/metrics").await;
        let value = page.text().lines().find_map(|line| {
            let value = line.strip_prefix(series)?.strip_prefix(' ')?;
            value.parse().ok()
        });
        value.unwrap_or_else(|| panic!("no {series} in {}", page.text()))
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    pub fn pid(&self) -> i32 {
        self.process.pid.as_raw_pid()
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A directory in its working directory, as seen in its own mount namespace.
    pub fn in_its_namespace(&self, directory: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        let inside = self.directory().strip_prefix("/").unwrap();
        root.join(inside).join(directory)
    }

    /// Sends a signal. False if the process had already ended: then no signal was sent.
    pub fn signal(&self, signal: Signal) -> bool {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.process.signal(signal)
    }

    /// Waits until the process has ended. The limit is twice the timeout of the log, since a stop
    /// may include a long drain.
    #[track_caller]
    pub fn exit(self) -> impl Future<Output = Exit> {
        self.end(Location::caller())
    }

    // Not a block within `exit`: that would capture only the fields it uses, and drop the directory
    // at once.
    async fn end(self, caller: &Location<'_>) -> Exit {
        let limit = self.timeout * 2;
        let Some(end) = self.process.end(limit).await else {
            let tail = self.log.tail();
            panic!("{caller}: the process did not end within {limit:?}, and is killed\n{tail}");
        };
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        Exit {
            code: end.status.code(),
            signal: end.status.signal(),
            took: end.at.saturating_duration_since(since),
            events: self.log.events(),
            stderr: self.log.stderr(),
            log: self.log.clone(),
        }
    }

    /// SIGTERM, then [`exit`](Service::exit).
    #[track_caller]
    pub fn stop(self) -> impl Future<Output = Exit> {
        self.signal(Signal::TERM);
        self.exit()
    }

    /// The resident memory of the process now, in bytes.
    #[track_caller]
    pub fn rss(&self) -> u64 {
        self.memory("VmRSS:")
    }

    #[track_caller]
    pub fn peak_rss(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The CPU time that it has used, to within hundredths of a second.
    #[track_caller]
    pub fn cpu_time(&self) -> Duration {
        let ticks: u64 = self.proc("stat", |place| {
            let stat = fs::read_to_string(place).ok()?;
            // The name may contain any character and ends with the last parenthesis. After it,
            // utime and stime are fields 12 and 13.
            let (_, fields) = stat.rsplit_once(") ")?;
            let times = fields.split(' ').skip(11).take(2);
            times.map(|ticks| ticks.parse::<u64>().ok()).sum()
        });
        Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
    }

    #[track_caller]
    fn memory(&self, line: &str) -> u64 {
        let kibibytes: u64 = self.proc("status", |place| {
            let status = fs::read_to_string(place).ok()?;
            let value = status.lines().find_map(|text| text.strip_prefix(line))?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        });
        kibibytes * 1024
    }

    /// Reads a place below `/proc/PID`.
    #[track_caller]
    fn proc<T>(&self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> T {
        let gone = || panic!("the process has already ended\n{}", self.log.tail());
        read(&format!("/proc/{}/{name}", self.pid())).unwrap_or_else(gone)
    }
}

impl Exit {
    pub fn event(&self, message: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.message == message)
    }

    /// Asserts that the start failed with one line that names all of these.
    #[track_caller]
    pub fn failed(&self, names: &[&str]) {
        assert_eq!(self.code, Some(1), "{self}");
        let is_cause = |event: &&Event| event.message == "failed";
        let said: Vec<_> = self.events.iter().filter(is_cause).collect();
        assert_eq!(said.len(), 1, "one clear line: {self}");
        let cause = said[0].field("cause").to_string();
        for name in names {
            assert!(cause.contains(name), "{name} is not in {cause}: {self}");
        }
        assert!(self.event("ready").is_none(), "{self}");
        assert_eq!(self.events.last().unwrap().message, "stopped", "{self}");
    }
}

/// Fills the free space of a file system with this file.
pub fn fill(file: &Path) {
    let mut file = File::create(file).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

impl Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (took, tail) = (self.took, self.log.tail());
        write!(f, "the process ended after {took:?}; {tail}")
    }
}
