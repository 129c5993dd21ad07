//! The process in a container, and below systemd, with notifications and inherited sockets.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use harness::http;
use harness::service::Signal;
use rustix::process::{Pid, kill_process};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::{AT_ONCE, faulty, get, in_handler};

#[tokio::test]
async fn service_stops_as_pid_1() {
    for (signal, again) in [
        (Signal::TERM, false),
        (Signal::INT, false),
        (Signal::TERM, true),
    ] {
        let namespace = ["--pid", "--fork", "--kill-child"];
        let launch = faulty().wrapped_by("unshare", namespace);
        let service = launch.ready().await;
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

/// Waits for this notification, and returns its time.
async fn hears(systemd: &UnixDatagram, message: &str) -> Instant {
    let mut datagram = [0; 4096];
    let hearing = async {
        loop {
            let length = systemd.recv(&mut datagram).await.unwrap();
            let text = String::from_utf8_lossy(&datagram[..length]);
            if text.lines().any(|line| line == message) {
                return Instant::now();
            }
            assert!(!text.contains("STOPPING=1"), "before {message}");
        }
    };
    let heard = timeout(Duration::from_secs(30), hearing).await;
    heard.unwrap_or_else(|_| panic!("systemd was not notified of {message}"))
}

#[tokio::test]
async fn systemd_is_notified_and_its_watchdog_fed_except_in_a_stall() {
    const PATIENCE: Duration = Duration::from_secs(2);
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    let launch = faulty()
        .env("NOTIFY_SOCKET", socket)
        .env("WATCHDOG_USEC", PATIENCE.as_micros().to_string())
        .set("shutdown.delay", "2s")
        .set("shutdown.drain", "5s");
    let service = launch.start().await.unwrap();
    hears(&systemd, "READY=1").await;
    assert_eq!(get(&service, "/readyz").await.status, 200);
    for _ in 0..3 {
        hears(&systemd, "WATCHDOG=1").await;
    }

    get(&service, "/stall?ms=12000").await;
    service.event("stall begun").await;
    let mut last = Instant::now();
    let silence = async {
        loop {
            let next = hears(&systemd, "WATCHDOG=1").await;
            if next - last > PATIENCE {
                return;
            }
            last = next;
        }
    };
    let noticed = timeout(Duration::from_secs(30), silence).await;
    assert!(noticed.is_ok(), "systemd noticed nothing of the stall");

    service.signal(Signal::TERM);
    hears(&systemd, "STOPPING=1").await;
    // At the beginning of the stop, not at its end.
    assert_eq!(get(&service, "/livez").await.status, 200);
    assert_eq!(service.exit().await.code, Some(0));
}

/// Sets the process id to which systemd addresses the sockets.
const AS_LISTENER: [&str; 2] = ["-c", r#"LISTEN_PID=$$ exec "$0" "$@""#];

#[tokio::test]
async fn inherited_sockets_outlive_the_process() {
    for names in [None, Some("operator:http")] {
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [mut http, mut operator] = sockets.each_ref().map(|it| it.local_addr().unwrap());
        let mut launch = faulty()
            .env("LISTEN_FDS", "2")
            .wrapped_by("sh", AS_LISTENER);
        for socket in sockets {
            launch = launch.inherit(socket);
        }
        if let Some(names) = names {
            launch = launch.env("LISTEN_FDNAMES", names);
            (http, operator) = (operator, http);
        }
        let service = launch.clone().ready().await;
        assert_eq!(service.http().await, http);
        assert_eq!(service.operator().await, operator);
        assert_eq!(get(&service, "/slow?ms=0").await.status, 200);
        let state = http::get(operator, "/api/state").await.unwrap();
        assert_eq!(state.status, 200, "{state}");

        let exit = service.stop().await;
        assert_eq!(exit.code, Some(0), "{exit}");

        // A client that connects between two processes is served by the next one.
        let early = tokio::spawn(async move { http::get(http, "/slow?ms=0").await });
        let next = launch.ready().await;
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
        .wrapped_by("sh", AS_LISTENER);
    let exit = launch.clone().start().await.unwrap().exit().await;
    exit.failed(&["0.0.0.0", "needs a token"]);
    let service = launch.env("APP__OPERATOR__TOKEN", "t0ken").ready().await;
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn sockets_of_another_process_are_ignored() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let launch = faulty()
        .inherit(socket)
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1");
    let service = launch.ready().await;
    assert_ne!(service.http().await, address);
    assert_eq!(service.stop().await.code, Some(0));
}
