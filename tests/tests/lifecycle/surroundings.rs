//! The process in a container, and below systemd, with notifications and inherited sockets.

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use harness::http;
use harness::service::{Launch, Signal};
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::{AT_ONCE, faulty, get, in_handler, running};

#[tokio::test]
async fn service_stops_as_pid_1() {
    for (signal, again) in [
        (Signal::TERM, false),
        (Signal::INT, false),
        (Signal::TERM, true),
    ] {
        let namespace = ["--pid", "--fork", "--kill-child"];
        let launch = faulty().by_way_of("unshare", namespace);
        let service = running(launch).await;
        let unshare = service.pid();
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        let children = fs::read_to_string(children).unwrap();
        let first = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", first.as_raw_pid())).unwrap();
        let number = status.lines().find(|line| line.starts_with("NSpid:"));
        assert!(number.unwrap().ends_with("\t1"), "{status}");
        let mut expected = 0;
        if again {
            let _unanswered = in_handler(&service, "/never").await;
            kill_process(first, signal).unwrap();
            service.event("draining").await;
            expected = 143;
        }
        let began = Instant::now();

        kill_process(first, signal).unwrap();

        let exit = service.exit().await;
        assert_eq!(exit.code, Some(expected), "{exit}");
        assert!(began.elapsed() < AT_ONCE, "{exit}");
        assert_eq!(exit.events.last().unwrap().message, "stopped", "{exit}");
    }
}

/// The notifications that systemd receives, each with its time.
struct Systemd {
    heard: Receiver<(Instant, String)>,
    directory: TempDir,
}

impl Systemd {
    fn listen() -> Systemd {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        let (said, heard) = channel();
        // The thread ends when the test drops the other end, or with the test's process.
        thread::spawn(move || {
            let mut datagram = [0; 4096];
            while let Ok(length) = socket.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                for line in text.lines() {
                    if said.send((Instant::now(), line.to_owned())).is_err() {
                        return;
                    }
                }
            }
        });
        Systemd { heard, directory }
    }

    fn starts(&self, launch: Launch) -> Launch {
        launch.env("NOTIFY_SOCKET", self.directory.path().join("notify"))
    }

    /// Waits for this message, and skips others.
    fn hears(&self, message: &str) -> Instant {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(left) {
                Ok((at, heard)) if heard == message => return at,
                Ok(_) => {}
                Err(end) => panic!("systemd was not notified of {message}: {end}"),
            }
        }
    }

    fn all(&self) -> Vec<(Instant, String)> {
        self.heard.try_iter().collect()
    }
}

#[tokio::test]
async fn systemd_is_notified_of_ready_and_stopping() {
    let systemd = Systemd::listen();
    let launch = faulty()
        .set("shutdown.delay", "2s")
        .set("shutdown.drain", "5s");
    let service = systemd.starts(launch).start().await.unwrap();

    systemd.hears("READY=1");
    assert_eq!(get(&service, "/readyz").await.status, 200);
    assert!(!said(&systemd.all(), "STOPPING=1"));

    service.signal(Signal::TERM);

    systemd.hears("STOPPING=1");
    // At the beginning of the stop, not at its end.
    assert_eq!(get(&service, "/livez").await.status, 200);
    assert_eq!(service.exit().await.code, Some(0));
}

#[tokio::test]
async fn systemd_watchdog_is_fed_except_in_a_stall() {
    let patience = Duration::from_secs(2);
    let systemd = Systemd::listen();
    let micros = patience.as_micros().to_string();
    let launch = faulty().env("WATCHDOG_USEC", micros);
    let service = systemd.starts(launch).start().await.unwrap().ready().await;
    systemd.hears("WATCHDOG=1");
    systemd.hears("WATCHDOG=1");
    let before = systemd.hears("WATCHDOG=1");

    get(&service, "/stall?ms=12000").await;
    service.event("stall begun").await;
    // The service answers again.
    let address = service.http().await;
    http::get(address, "/slow?ms=0").await.unwrap();

    let mut pings: Vec<_> = systemd.all();
    pings.retain(|(_, heard)| heard == "WATCHDOG=1");
    let last = systemd.hears("WATCHDOG=1");
    let during = pings.into_iter().map(|(at, _)| at);
    let pings: Vec<_> = [before].into_iter().chain(during).chain([last]).collect();
    let silence = pings
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap();
    assert!(silence > patience, "systemd noticed nothing in {pings:?}");
    assert_eq!(service.stop().await.code, Some(0));
}

fn said(heard: &[(Instant, String)], message: &str) -> bool {
    heard.iter().any(|(_, heard)| heard == message)
}

/// Sets the process id to which systemd addresses the sockets.
const AS_LISTENER: &str = r#"LISTEN_PID=$$ exec "$0" "$@""#;

#[tokio::test]
async fn inherited_sockets_outlive_the_process() {
    for names in [None, Some("operator:http")] {
        let (first, second) = (listener(), listener());
        let (http, operator) = match names {
            None => (&first, &second),
            Some(_) => (&second, &first),
        };
        let (http, operator) = (http.local_addr().unwrap(), operator.local_addr().unwrap());
        let mut launch = faulty()
            .inherit(first.try_clone().unwrap())
            .inherit(second.try_clone().unwrap())
            .env("LISTEN_FDS", "2")
            .by_way_of("sh", ["-c", AS_LISTENER]);
        if let Some(names) = names {
            launch = launch.env("LISTEN_FDNAMES", names);
        }
        let service = running(launch.clone()).await;
        assert_eq!(service.http().await, http);
        assert_eq!(service.operator().await, operator);
        assert_eq!(get(&service, "/slow?ms=0").await.status, 200);
        let state = http::get(operator, "/api/state").await.unwrap();
        assert_eq!(state.status, 200, "{state}");

        let exit = service.stop().await;
        assert_eq!(exit.code, Some(0), "{exit}");

        // A client that connects between two processes is served by the next one.
        let early = tokio::spawn(async move { http::get(http, "/slow?ms=0").await });
        let next = running(launch).await;
        assert_eq!(early.await.unwrap().unwrap().status, 200);
        assert_eq!(next.stop().await.code, Some(0));
    }
}

#[tokio::test]
async fn inherited_public_operator_socket_needs_a_token() {
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let launch = faulty()
        .inherit(socket)
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "operator")
        .by_way_of("sh", ["-c", AS_LISTENER]);
    let exit = launch.clone().start().await.unwrap().exit().await;
    exit.failed(&["0.0.0.0", "needs a token"]);
    let service = running(launch.env("APP__OPERATOR__TOKEN", "t0ken")).await;
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn sockets_of_another_process_are_ignored() {
    let socket = listener();
    let address = socket.local_addr().unwrap();
    let launch = faulty()
        .inherit(socket.try_clone().unwrap())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1");
    let service = running(launch).await;
    assert_ne!(service.http().await, address);
    assert_eq!(service.stop().await.code, Some(0));
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}
