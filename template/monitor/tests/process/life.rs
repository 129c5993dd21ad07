//! The process keeps its promises: it starts, says so, answers probes, and stops when told.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::running::{Running, ask_with, command, get};
use crate::scratch::Scratch;

#[test]
fn it_starts_answers_probes_and_stops_cleanly_on_sigterm() {
    let mut service = Running::start(&[]);
    for listener in [service.http, service.operator] {
        for probe in ["/livez", "/readyz", "/startupz"] {
            let answer = get(listener, probe);
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (200, "ok"),
                "{probe}"
            );
            assert!(
                answer.head.contains("cache-control: no-store"),
                "{}",
                answer.head
            );
        }
    }

    service.signal(Signal::TERM);

    assert_eq!(service.event("draining")["signal"], "SIGTERM");
    let stopped = service.event("stopped");
    assert_eq!(
        (&stopped["outcome"], &stopped["exit_code"]),
        (&"clean".into(), &0.into())
    );
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn during_the_delay_it_is_unready_alive_and_serving() {
    let mut service = Running::start(&["shutdown.delay=5s"]);

    service.signal(Signal::INT);
    assert_eq!(service.event("draining")["signal"], "SIGINT");

    assert_eq!(get(service.http, "/readyz").status, 503);
    assert_eq!(get(service.http, "/livez").status, 200);
    assert_eq!(get(service.http, "/startupz").status, 200);
    let served = ask_with(
        service.http,
        "GET",
        "/nothing",
        "connection: keep-alive\r\n",
        "",
    );
    assert_eq!(served.status, 404);
    assert!(served.head.contains("connection: close"), "{}", served.head);

    // A second signal does not wait for the rest.
    service.signal(Signal::INT);
    let stopped = service.event("stopped");
    assert_eq!(
        (&stopped["outcome"], &stopped["exit_code"]),
        (&"killed".into(), &130.into())
    );
    assert_eq!(service.ended().code(), Some(128 + 2));
}

#[test]
fn sigquit_does_not_wait_for_load_balancers() {
    let mut service = Running::start(&["shutdown.delay=5s"]);
    let told = Instant::now();

    service.signal(Signal::QUIT);

    assert_eq!(service.event("draining")["signal"], "SIGQUIT");
    assert_eq!(service.event("stopped")["outcome"], "clean");
    assert!(
        told.elapsed() < Duration::from_secs(5),
        "took {:?}",
        told.elapsed()
    );
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn sighup_reads_the_filter_again_and_ends_nothing() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("settings.toml");
    std::fs::write(&file, "[log]\nfilter = \"info\"\n").unwrap();
    let mut service = Running::start_with(&[], &[("APP_CONFIG", file.to_str().unwrap())]);

    std::fs::write(&file, "[log]\nfilter = \"info,sqlx=error\"\n").unwrap();
    service.signal(Signal::HUP);
    assert_eq!(service.event("reloaded")["filter"], "info,sqlx=error");

    std::fs::write(&file, "[log]\nfiltre = \"info\"\n").unwrap();
    service.signal(Signal::HUP);
    let refused = service.event("the settings are wrong; nothing has changed");
    assert!(
        refused["problems"].to_string().contains("log.filtre"),
        "{refused}"
    );

    assert_eq!(get(service.http, "/readyz").status, 200);
    service.signal(Signal::TERM);
    service.event("stopped");
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn the_operator_can_stop_it_and_no_page_of_another_site_can() {
    let mut service = Running::start(&[]);
    let order = |origin: &str| ask_with(service.operator, "POST", "/api/stop", origin, "").status;

    assert_eq!(order("origin: https://elsewhere.example\r\n"), 403);
    assert_eq!(order("origin: null\r\n"), 403);
    assert_eq!(get(service.http, "/readyz").status, 200);
    assert_eq!(
        order(&format!("origin: http://{}\r\n", service.operator)),
        202
    );

    assert_eq!(service.event("draining")["cause"], "the operator");
    assert_eq!(service.event("stopped")["exit_code"], 0);
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn systemd_is_told_when_it_is_ready_alive_and_stopping() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let told = |news: &str| {
        let mut message = [0; 200];
        loop {
            let length = socket
                .recv(&mut message)
                .unwrap_or_else(|_| panic!("never told {news}"));
            if String::from_utf8_lossy(&message[..length]).trim() == news {
                return;
            }
        }
    };
    let path = path.to_str().unwrap();
    let environment = [("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "200000")];
    let mut service = Running::start_with(&[], &environment);

    told("READY=1");
    told("WATCHDOG=1");
    told("WATCHDOG=1");
    service.signal(Signal::TERM);
    told("STOPPING=1");
    service.event("stopped");
    assert_eq!(service.ended().code(), Some(0));
}

#[test]
fn an_error_is_a_problem_that_names_its_request() {
    let service = Running::start(&[]);

    let answer = get(service.http, "/nothing?token=hunter2");

    assert_eq!(answer.status, 404);
    assert!(
        answer
            .head
            .contains("content-type: application/problem+json"),
        "{}",
        answer.head
    );
    let problem = answer.json();
    assert_eq!(
        (&problem["code"], &problem["status"]),
        (&"not_found".into(), &404.into())
    );
    let event = service.event("request");
    assert_eq!(
        event["request_id"], problem["request_id"],
        "the log knows the request"
    );
    assert_eq!(
        (&event["route"], &event["status"]),
        (&"unmatched".into(), &404.into())
    );
    assert!(
        !event.to_string().contains("hunter2"),
        "no query string in the log: {event}"
    );
}

#[test]
fn the_operator_needs_the_token_and_nobody_sees_it() {
    let secrets = TempDir::new().unwrap();
    let token = secrets.path().join("token");
    std::fs::write(&token, "hunter2\n").unwrap();
    let token = [("APP__OPERATOR__TOKEN_FILE", token.to_str().unwrap())];
    let service = Running::start_with(&[], &token);

    let state = |authorization: &str| {
        let header = format!("authorization: {authorization}\r\n");
        ask_with(service.operator, "GET", "/api/state", &header, "")
    };
    for wrong in ["Bearer hunter", "Bearer", "hunter2"] {
        assert_eq!(state(wrong).status, 401, "{wrong}");
    }
    assert_eq!(
        get(service.operator, "/readyz").status,
        200,
        "a probe has no token"
    );

    let shown = state("Bearer hunter2");
    assert_eq!(
        (shown.status, &shown.json()["state"]),
        (200, &"ready".into())
    );
    assert!(
        shown.body.contains("[redacted]") && !shown.body.contains("hunter2"),
        "{}",
        shown.body
    );
}

#[test]
fn wrong_settings_are_told_all_at_once_and_nothing_starts() {
    let directory = TempDir::new().unwrap();
    let output = command(&directory)
        .env("APP__HTTP__LISTN", "127.0.0.1:1")
        .args([
            "--set",
            "shutdown.drain=1h",
            "--set",
            "log.filter=loud=very",
        ])
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stderr).unwrap();
    for named in [
        "did you mean `APP__HTTP__LISTEN`",
        "shutdown.grace = \"30s\"",
        "log.filter",
    ] {
        assert!(report.contains(named), "{named} is not in:\n{report}");
    }
    assert!(
        std::fs::read_dir(directory.path())
            .unwrap()
            .next()
            .is_none(),
        "nothing was made"
    );
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (directory, database) = (TempDir::new().unwrap(), Scratch::new());
    let output = command(&directory)
        .env("APP__DATABASE__URL", database.url())
        .args([
            "--set",
            "log.format=json",
            "--set",
            "operator.listen=127.0.0.1:0",
        ])
        .args(["--set", &format!("http.listen={address}")])
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8(output.stdout).unwrap();
    assert!(
        log.contains(&format!("cannot bind {address} (http.listen)")),
        "{log}"
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    let directory = TempDir::new().unwrap();
    let output = command(&directory).arg("serv").output().unwrap();

    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("'serve'"),
        "a hint is given"
    );
}
