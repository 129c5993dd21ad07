//! The reader of the log may stop, exit, or run out of space: the service keeps working.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use harness::eventually;
use harness::http::{self, Http1};
use harness::service::{Launch, Service, Signal, fill};
use rustix::process::{Pid, kill_process};
use tokio::task::JoinSet;

use crate::{AT_ONCE, clean, count, faulty, get};

/// Starts the service with a reader for its output, and records the reader's process id.
const READER: &str = r#"exec "$0" "$@" > >(echo $BASHPID > reader; exec cat)"#;

/// Starts the service with its log on a small private file system, and copies the log to standard
/// output.
const ON_A_SMALL_DISK: &str = r#"mkdir logs && mount -t tmpfs -o size=1m none logs && : > logs/log
    tail --follow --lines=+1 --pid=$$ logs/log & exec "$0" "$@" >> logs/log"#;

const LOST: &str = "log lines were lost";

/// The size of an event, such that a few thousand of them far exceed the buffer, the pipe and
/// `SPARE` together.
const SHOUT: usize = 16 << 10;

/// The tolerance for memory that is not used by the log.
const SPARE: u64 = 8 << 20;

/// A reader that a test can suspend. It resumes on drop.
struct Reader(Pid);

impl Reader {
    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        _ = kill_process(self.0, Signal::CONT);
    }
}

/// Starts the service with a reader that a test can suspend.
async fn read(launch: Launch) -> (Service, Reader) {
    let service = launch.wrapped_by("bash", ["-c", READER]).ready().await;
    let number = fs::read_to_string(service.directory().join("reader")).unwrap();
    let reader = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    (service, Reader(reader))
}

fn with_a_small_buffer() -> Launch {
    faulty().set("log.buffer", "64KiB")
}

/// Logs this many events, one after another. Returns the longest latency.
async fn shout(service: &Service, times: usize) -> Duration {
    let mut client = Http1::connect(service.http().await).await.unwrap();
    let mut longest = Duration::ZERO;
    for _ in 0..times {
        let asked = Instant::now();
        let answer = client.get(&format!("/shout?bytes={SHOUT}")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        longest = longest.max(asked.elapsed());
    }
    longest
}

/// Waits until the log is read again.
async fn wait_for_log_lines(service: &Service) {
    let later = service.log().from_now();
    eventually("a line of the log", async || {
        get(service, "/slow?ms=0").await;
        let mut events = later.events().into_iter();
        events.find(|event| event.message == "slow begun")
    })
    .await;
}

#[tokio::test]
async fn stalled_log_reader_blocks_no_request() {
    let (service, reader) = read(faulty()).await;
    shout(&service, 100).await;
    let before = service.rss();

    reader.signal(Signal::STOP);
    let longest = shout(&service, 3000).await;
    let grown = service.rss().saturating_sub(before);
    let log = service.log().clone();
    let later = service.log().from_now();
    reader.signal(Signal::CONT);

    assert!(longest < AT_ONCE, "the slowest request took {longest:?}");
    assert!(grown < SPARE, "{grown} bytes more");
    let event = later.event(LOST).await;
    assert!(event.field("lost").as_u64() > Some(0), "{event}");
    wait_for_log_lines(&service).await;
    clean(&service.stop().await);
    assert_eq!(log.strays(), Vec::<String>::new());
}

/// The number of clients that load the service.
const CLIENTS: usize = 32;

/// The minimum throughput with a suspended reader, relative to a running one. Both are measured in
/// turns, so that noise affects both alike. On a quiet machine they are equal; on a busy one, the
/// tests, which read the log as well, yield less while there is nothing to read. If logging
/// blocked, the throughput would be zero.
const UNCHANGED: f64 = 0.5;

/// The maximum relative cost of a request, which does not depend on other processes.
const COST: f64 = 1.2;

/// The requests of some turns, and the CPU seconds for them.
#[derive(Debug, Default)]
struct Done {
    answers: f64,
    work: f64,
}

impl Done {
    /// Adds a turn of this time under full load.
    async fn press(&mut self, service: &Service, time: Duration) {
        let before = service.cpu_time();
        let (address, end) = (service.http().await, Instant::now() + time);
        let clients = (0..CLIENTS).map(|_| async move {
            let mut client = Http1::connect(address).await.unwrap();
            let mut answers = 0.0;
            while Instant::now() < end {
                let answer = client.get("/slow?ms=0").await.unwrap();
                assert_eq!(answer.status, 200, "{answer}");
                answers += 1.0;
            }
            answers
        });
        let clients: JoinSet<f64> = clients.collect();
        self.answers += clients.join_all().await.into_iter().sum::<f64>();
        let work = service.cpu_time().saturating_sub(before);
        self.work += work.as_secs_f64();
    }
}

/// Suspends the reader repeatedly. The service must keep working, and report the exact number of
/// lost lines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stalled_log_reader_changes_no_result() {
    const LONG: Duration = Duration::from_secs(3);
    let (service, reader) = read(faulty()).await;
    Done::default().press(&service, LONG / 5).await;
    let (mut read, mut unread) = (Done::default(), Done::default());
    for _ in 0..4 {
        read.press(&service, LONG).await;
        reader.signal(Signal::STOP);
        unread.press(&service, LONG).await;
        reader.signal(Signal::CONT);
        wait_for_log_lines(&service).await;
    }
    let ratio = unread.answers / read.answers;
    let cost = (unread.work / unread.answers) / (read.work / read.answers);
    println!("{ratio:.2} of the throughput with a reader, at {cost:.2} of the cost");

    let counted = service.metric("log_lines_lost_total").await;
    let answers = service.ask("/api/state").await.json()["http"]["requests"].clone();
    let exit = service.stop().await;
    clean(&exit);
    let numbers = exit.events.iter().filter(|event| event.message == LOST);
    let numbers = numbers.map(|event| event.field("lost").as_u64().unwrap());
    let lost: u64 = numbers.sum();
    let here = (count(&exit, "slow begun") + count(&exit, "request")) as u64;
    println!("{here} lines were read, {lost} were lost");
    assert!(ratio >= UNCHANGED, "{ratio:.2}: {read:?}, {unread:?}");
    assert!(cost <= COST, "{cost:.2}: {read:?}, {unread:?}");
    assert!(lost > 0, "no line was lost");
    assert_eq!(counted.to_string(), lost.to_string(), "the metric");
    // Two events for each request; the lost ones may include other events.
    let all = 2 * answers.as_u64().unwrap();
    let is_whole = (all..=all + 10).contains(&(here + lost));
    assert!(is_whole, "{here} and {lost} of {all}");
}

#[tokio::test]
async fn stop_does_not_wait_for_a_stalled_log_reader() {
    let (service, reader) = read(with_a_small_buffer()).await;
    reader.signal(Signal::STOP);
    shout(&service, 100).await;
    let process = PathBuf::from(format!("/proc/{}", service.pid()));

    let ended = eventually("the end of the process", async || {
        (!process.exists()).then_some(())
    });
    let reads_on = async {
        ended.await;
        reader.signal(Signal::CONT);
    };
    let (exit, ()) = tokio::join!(service.stop(), reads_on);

    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn resumed_log_reader_gets_the_last_event() {
    let (service, reader) = read(with_a_small_buffer()).await;
    let address = service.http().await;
    reader.signal(Signal::STOP);
    shout(&service, 100).await;

    service.signal(Signal::TERM);
    eventually("the drain", async || {
        http::get(address, "/livez").await.err()
    })
    .await;
    reader.signal(Signal::CONT);

    let exit = service.exit().await;
    clean(&exit);
    assert!(exit.event(LOST).is_some(), "{exit}");
    assert_eq!(exit.events.last().unwrap().message, "stopped", "{exit}");
}

#[tokio::test]
async fn closed_log_reader_does_not_change_the_stop() {
    let (service, reader) = read(faulty()).await;

    reader.signal(Signal::KILL);
    let longest = shout(&service, 300).await;
    let exit = service.stop().await;

    assert!(longest < AT_ONCE, "the slowest request took {longest:?}");
    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < AT_ONCE, "took {:?}", exit.took);
}

#[tokio::test]
async fn log_resumes_whole_lines_after_a_full_disk() {
    let way = ["-rm", "bash", "-c", ON_A_SMALL_DISK];
    let service = with_a_small_buffer()
        .wrapped_by("unshare", way)
        .ready()
        .await;
    let filler = service.in_its_namespace("logs").join("filler");

    fill(&filler);
    let longest = shout(&service, 100).await;
    let later = service.log().from_now();
    fs::remove_file(&filler).unwrap();

    assert!(longest < AT_ONCE, "the slowest request took {longest:?}");
    later.event(LOST).await;
    wait_for_log_lines(&service).await;
    let log = service.log().clone();
    clean(&service.stop().await);
    assert_eq!(log.strays(), Vec::<String>::new());
}
