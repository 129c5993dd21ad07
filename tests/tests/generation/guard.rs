//! Each entry of `clippy.toml` refuses its call and names an alternative.
//!
//! Clippy ignores an entry whose path does not exist. So `calls.toml` has a call for each entry,
//! and clippy lints all of them in a generated project.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use harness::repository;
use harness::variant::cargo;
use serde_json::Value;
use toml::Table;

use crate::project;

/// The imports and helpers of the calls.
const HEAD: &str = r#"
use std::io::Result;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const NO_TIME: Duration = Duration::ZERO;
static PLACE: LazyLock<&Path> = LazyLock::new(|| Path::new("a"));
static CONDVAR: Condvar = Condvar::new();
static LOCK: Mutex<()> = Mutex::new(());

fn lock() -> MutexGuard<'static, ()> {
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods)]
fn child() -> Result<Child> {
    Command::new("a").spawn()
}
"#;

/// An entry whose path does not exist, with a call that it should have refused.
const IDLE: (&str, &str) = ("nowhere::sleep", "tokio::time::sleep(NO_TIME).await");

/// What clippy refuses without an entry: holding a guard across an await.
const HELD: [(&str, &str); 2] = [
    ("clippy::await_holding_lock", "let held = lock();"),
    (
        "clippy::await_holding_refcell_ref",
        "let cell = std::cell::RefCell::new(()); let held = cell.borrow_mut();",
    ),
];

#[test]
fn clippy_refuses_blocking_calls_with_a_replacement() {
    let home = repository::projects().join("guarded");
    _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).expect("the directory of projects can be created");
    let project = project("guarded", &home);
    let of_the_service = fs::read_to_string(project.join("clippy.toml")).expect("the file exists");
    // The machinery has all dependencies of the calls.
    let project = project.join("mainstay");
    let read = |name: &str| fs::read_to_string(project.join(name)).expect("the file exists");
    let write = |name: &str, text: &str| {
        fs::write(project.join(name), text).expect("the file can be written");
    };
    let clippy = read("clippy.toml");
    assert_eq!(of_the_service, clippy, "both keep to one list");
    let list = "disallowed-methods = [";
    let idle = format!("{list}{{ path = \"{}\", reason = \"\" }},", IDLE.0);
    write("clippy.toml", &clippy.replace(list, &idle));
    write("src/lib.rs", &(read("src/lib.rs") + "\nmod calls;\n"));
    let calls: BTreeMap<String, String> =
        toml::from_str(include_str!("calls.toml")).expect("a call for each path");
    let entries = entries(&clippy);
    let [called, listed] = [calls.keys().collect::<Vec<_>>(), entries.keys().collect()];
    assert_eq!(called, listed, "calls.toml, and the entries of clippy.toml");
    let (module, lines) = module(&calls);
    write("src/calls.rs", &module);

    let arguments = ["clippy", "--locked", "--lib", "--message-format=json"];
    let output = cargo(&project, "guarded", &arguments).stdout;

    let refused = refused(&String::from_utf8_lossy(&output), &lines);
    let is_refused = |path: &str, lint: &str, words: &[&str]| {
        let said = refused.get(&(path.to_owned(), lint.to_owned()));
        said.is_some_and(|said| words.iter().all(|words| said.contains(words)))
    };
    for (path, (lint, reason)) in &entries {
        let is_refused = is_refused(path, lint, &[&format!("`{path}`"), reason]);
        assert!(is_refused, "{path} is not in {refused:#?}");
    }
    for (lint, _) in HELD {
        assert!(is_refused(lint, lint, &[]), "{lint} is off: {refused:#?}");
    }
    // An entry without a match is ignored.
    assert!(!is_refused(IDLE.0, "clippy::disallowed_methods", &[]));
}

/// The entries of a `clippy.toml` by path: the lint of each and its reason.
fn entries(clippy: &str) -> BTreeMap<String, (String, String)> {
    let clippy: Table = clippy.parse().expect("valid TOML");
    let mut entries = BTreeMap::new();
    for lint in ["disallowed-methods", "disallowed-types"] {
        for entry in clippy[lint].as_array().expect("a list") {
            let text = |key: &str| entry[key].as_str().expect("a text").to_owned();
            let lint = format!("clippy::{}", lint.replace('-', "_"));
            let double = entries.insert(text("path"), (lint, text("reason")));
            assert_eq!(double, None, "{} is there twice", text("path"));
        }
    }
    entries
}

/// A function for each call, and the path that is called on each line.
fn module(calls: &BTreeMap<String, String>) -> (String, BTreeMap<u64, String>) {
    let of_entries = calls
        .iter()
        .map(|(path, call)| (path.clone(), format!("drop({call});")));
    let idle = (IDLE.0.to_owned(), format!("{};", IDLE.1));
    let held = HELD.map(|(lint, held)| {
        let body = format!("{held} tokio::task::yield_now().await; drop(held);");
        (lint.to_owned(), body)
    });
    let (mut text, mut lines) = (HEAD.to_owned(), BTreeMap::new());
    for (number, (name, body)) in of_entries.chain([idle]).chain(held).enumerate() {
        _ = writeln!(
            text,
            "async fn call_{number}() -> Result<()> {{ {body} Ok(()) }}"
        );
        let line = u64::try_from(text.lines().count()).expect("a small number of lines");
        lines.insert(line, name);
    }
    (text, lines)
}

/// The paths that clippy refused on these lines, by lint, with its message.
fn refused(output: &str, lines: &BTreeMap<u64, String>) -> BTreeMap<(String, String), String> {
    let mut refused: BTreeMap<_, String> = BTreeMap::new();
    for line in output.lines() {
        let said: Value = serde_json::from_str(line).expect("cargo prints JSON");
        let message = &said["message"];
        let Some(lint) = message["code"]["code"].as_str() else {
            continue;
        };
        let spans = message["spans"].as_array().into_iter().flatten();
        let here = spans.filter(|span| span["file_name"] == "mainstay/src/calls.rs");
        let call = here.filter_map(|span| lines.get(&span["line_start"].as_u64()?));
        for call in call {
            let words = refused.entry((call.clone(), lint.to_owned())).or_default();
            *words += message["rendered"].as_str().unwrap_or_default();
        }
    }
    refused
}
