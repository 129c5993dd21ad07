//! The helpers themselves, with a shell in place of a service.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
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
}

#[test]
#[should_panic(expected = "no sign of the event \"b\" before the process ended")]
fn event_fails_at_once_when_the_process_has_ended() {
    script(READY).spawn().event("b");
}

#[test]
#[should_panic(expected = "no JSON in the log: oops")]
fn event_fails_on_a_line_that_is_not_json() {
    script(&format!("echo oops; {READY}")).start().event("b");
}

#[test]
fn drop_kills_the_process_and_removes_its_directory() {
    let text =
        r#"echo '{"message":"self","pid":'$$',"directory":"'$PWD'"}'; exec tail -f /dev/null"#;
    let service = script(text).spawn();
    let event = service.event("self");
    let process = format!("/proc/{}", event["pid"]);
    let exists =
        || [&process, event["directory"].as_str().unwrap()].map(|it| Path::new(it).exists());
    assert_eq!(exists(), [true, true]);

    drop(service);

    assert_eq!(exists(), [false, false]);
}

#[test]
fn output_starts_with_nothing_but_what_is_given() {
    let binary =
        script("env; for it; do echo $it; done; echo oops >&2; exit 3").env("GIVEN", "yes");
    let output = binary.set("log.filter", "info").output();

    assert_eq!(
        (output.status.code(), &*output.stderr),
        (Some(3), &b"oops\n"[..])
    );
    let is_given = |line: &&str| {
        let usual = ["PATH=", "HOME=", "PWD=", "SHLVL=", "_="];
        !usual.iter().any(|usual| line.starts_with(usual))
    };
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = stdout.lines().filter(is_given).collect();
    for line in [
        "GIVEN=yes",
        "APP__HTTP__LISTEN=127.0.0.1:0",
        "log.filter=info",
    ] {
        assert!(lines.contains(&line), "{lines:?}");
    }
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[test]
fn request_has_the_headers_that_are_given_or_usual() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = thread::spawn(move || {
        let mut connection = BufReader::new(listener.accept().unwrap().0);
        let lines = connection.by_ref().lines().map(Result::unwrap);
        let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        connection.read_exact(&mut [0; 2]).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nETag: \"x\"\r\ncontent-length: 7\r\n\r\n{\"a\":1}";
        connection.get_mut().write_all(answer.as_bytes()).unwrap();
        head
    });

    let answer = ask_with(address, "PUT", "/a", &[("X-Own", "b")], "{}");

    assert_eq!((answer.status, answer.header("etag")), (200, Some("\"x\"")));
    assert_eq!(answer.json()["a"], 1);
    let head = asked.join().unwrap();
    assert_eq!(head[0], "PUT /a HTTP/1.1");
    for line in [
        &*format!("host: {address}"),
        "content-length: 2",
        "content-type: application/json",
        "x-own: b",
    ] {
        assert!(
            head.iter().any(|it| it == line),
            "{line} is not in {head:?}"
        );
    }
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
