//! The helpers themselves, with a shell in place of a service.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::thread;

use garde::Validate;
use serde::Deserialize;

use super::*;
use crate::Service;

fn script(text: &str) -> Binary {
    Binary::new("/bin/sh").arg("-c").arg(text)
}

const READY: &str = r#"echo '{"message":"ready"}';"#;

#[test]
fn event_gives_each_event_once_in_order() {
    let text = r#"for n in 1 2; do echo '{"message":"a","n":'$n'}'; echo '{"message":"b"}'; done;"#;
    let service = script(&format!("{text} {READY}")).start();

    assert_eq!(service.event("b")["message"], "b");
    assert_eq!(service.event("a")["n"], 1);
    assert_eq!(service.event("a")["n"], 2);
    assert_eq!(service.events().len(), 5);
}

#[test]
#[should_panic(expected = "no sign of the event \"b\": the process has ended")]
fn event_fails_at_once_when_the_process_has_ended() {
    script(READY).spawn().event("b");
}

#[test]
#[should_panic(expected = "a line of the log is not JSON: oops")]
fn event_fails_on_a_line_that_is_not_json() {
    script(&format!("echo oops; {READY}")).start().event("b");
}

#[test]
fn address_is_that_of_the_listener_of_this_name() {
    let listening = |name: &str, port: u16| {
        format!(
            r#"echo '{{"message":"listening","listener":"{name}","address":"127.0.0.1:{port}"}}';"#
        )
    };
    let text = listening("operator", 1) + &listening("http", 2) + &listening("grpc", 3);
    let service = script(&text).spawn();

    let ports = [service.http(), service.operator(), service.address("grpc")];
    assert_eq!(ports.map(|address| address.port()), [2, 1, 3]);
}

#[test]
fn signal_reaches_the_process_and_ended_gives_its_status() {
    let text = format!("trap 'exit 7' TERM; {READY} while :; do sleep 0.01; done");
    let service = script(&text).start();

    service.signal(Signal::TERM);

    assert_eq!(service.ended().code(), Some(7));
}

#[test]
fn drop_kills_the_process_and_removes_its_directory() {
    let service = script(&format!("{READY} exec tail -f /dev/null")).start();
    let (process, directory) = (service.pid(), service.directory().to_owned());
    let process = format!("/proc/{process}");
    assert!(Path::new(&process).exists() && directory.exists());

    drop(service);

    assert!(!Path::new(&process).exists() && !directory.exists());
}

#[test]
fn output_starts_with_nothing_but_what_is_given() {
    let binary = script("env; cat etc/a.toml; echo \"$0 $1\"; pwd >&2; exit 3");
    let binary = binary.env("GIVEN", "yes").file("etc/a.toml", "a = 1\n");
    let output = binary.set("log.filter", "info").output();

    assert_eq!(output.status.code(), Some(3));
    let is_own = |line: &&str| {
        !["PWD=", "SHLVL=", "_="]
            .iter()
            .any(|own| line.starts_with(own))
    };
    let inherited = |line: &&str| line.starts_with("PATH=") || line.starts_with("HOME=");
    let lines = output.stdout.lines().filter(is_own);
    let lines: Vec<_> = lines.filter(|line| !inherited(line)).collect();
    assert_eq!(lines, ["GIVEN=yes", "a = 1", "--set log.filter=info"]);
    let directory = Path::new(output.stderr.trim_end());
    assert!(directory.is_absolute() && !directory.exists());
}

#[test]
fn ended_tells_of_a_signal() {
    let service = script("kill -9 $$").spawn();
    assert_eq!(service.ended().signal(), Some(9));
}

/// A server that gives this answer to its only request, which ends with `end`, and the request.
fn server(answer: &'static str, end: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(end.as_bytes()) {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        connection.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (address, served)
}

#[test]
fn request_has_the_headers_that_are_given_or_usual() {
    let answer = "HTTP/1.1 204 No Content\r\nETag: \"x\"\r\n\r\n";
    let (address, asked) = server(answer, "{}");

    let answer = ask_with(address, "PUT", "/a", &[("Connection", "keep-alive")], "{}");

    assert_eq!((answer.status, answer.header("etag")), (204, Some("\"x\"")));
    let expected = format!(
        "PUT /a HTTP/1.1\r\nhost: {address}\r\ncontent-length: 2\r\n\
         content-type: application/json\r\nConnection: keep-alive\r\n\r\n{{}}"
    );
    assert_eq!(asked.join().unwrap(), expected);
}

#[test]
fn answer_has_its_body_however_it_is_framed() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}",
    ] {
        assert_eq!(
            get(server(answer, "\r\n\r\n").0, "/").json()["a"],
            1,
            "{answer}"
        );
    }
}

#[test]
#[should_panic(expected = "the answer is cut off")]
fn answer_that_is_cut_off_fails_the_test() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\"";
    _ = get(server(answer, "\r\n\r\n").0, "/");
}

#[test]
fn settings_of_a_service_are_described_and_read() {
    check_settings(&Service::<crate::Settings>::new(crate::build_info!()));
}

#[test]
#[should_panic(expected = "described, but never read: [\"hello.x\"]")]
fn setting_that_nothing_reads_is_found() {
    let service = Service::<crate::Settings>::new(crate::build_info!());
    check_settings(&service.settings("[hello]\n# What it means.\nx = 1\n"));
}

#[test]
#[should_panic(expected = "no comment above the default of [\"hello.x\"]")]
fn setting_without_a_meaning_is_found() {
    #[derive(Deserialize, Validate)]
    struct Own {
        #[garde(dive)]
        mainstay: crate::Settings,
        #[garde(skip)]
        #[serde(rename = "hello.x")]
        _x: u16,
    }

    impl AsRef<crate::Settings> for Own {
        fn as_ref(&self) -> &crate::Settings {
            &self.mainstay
        }
    }

    check_settings(&Service::<Own>::new(crate::build_info!()).settings("[hello]\nx = 1\n"));
}

#[test]
fn committed_file_is_compared() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clippy.toml");
    check_committed(path, include_str!("../../clippy.toml"));
}

#[test]
#[should_panic(expected = "is not what the code makes")]
fn committed_file_that_differs_is_found() {
    assert!(
        std::env::var_os("UPDATE").is_none(),
        "is not what the code makes"
    );
    check_committed("/nowhere", "content");
}
