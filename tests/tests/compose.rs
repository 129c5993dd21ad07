//! The four other shapes of `app.rs` in docs/compose.md: each diff fits a new service, compiles, runs, and
//! stops in order.
//!
//! They are the members of one workspace, with one machinery.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use harness::generate::{Answers, Place, generate};
use harness::http::get;
use harness::log::Event;
use harness::postgres::Postgres;
use harness::repository;
use harness::service::{Exit, Launch, Service, Signal};
use harness::variant::{cargo, settle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A shape: the heading in the page, and the name of its package.
const SHAPES: [(&str, &str); 4] = [
    ("A second public listener", "two-listeners"),
    ("No database", "no-database"),
    ("Two databases", "two-databases"),
    ("A server that speaks another protocol", "echo-server"),
];

const MANIFEST: &str = r#"[workspace]
resolver = "3"
members = ["two-listeners", "no-database", "two-databases", "echo-server"]

[profile.dev]
debug = "line-tables-only"

[profile.dev.package."*"]
debug = false
"#;

/// What the page says that a shape needs in `Cargo.toml`.
const DEPENDENCIES: [(&str, &str); 2] = [
    (
        "two-databases",
        "[dependencies.mainstay]\nfeatures = [\"postgres\"]\n",
    ),
    (
        "echo-server",
        "[dependencies]\nfutures-util = { version = \"0.3\", default-features = false }\n\
         tokio = { version = \"1\", features = [\"io-util\", \"net\", \"rt\", \"time\"] }\n\
         tokio-util = { version = \"0.7\", features = [\"rt\"] }\n",
    ),
];

#[tokio::test]
async fn two_listeners_serve_and_drain() {
    let service = launch("two-listeners").start().await.unwrap().ready().await;
    let is_second = |event: &Event| *event.field("listener") == "internal";
    let listening = service.log().wait_for("the second listener", is_second);
    let internal = listening.await.field("address").clone();
    let internal: SocketAddr = internal.as_str().unwrap().parse().unwrap();
    for address in [service.http().await, internal] {
        let greeted = harness::http::send(address, harness::http::Request::post("/v1/hello/Ada"));
        assert_eq!(greeted.await.unwrap().status, 200, "{address}");
    }
    is_clean(&service.stop().await);
}

#[tokio::test]
async fn a_service_without_a_database_starts_and_stops() {
    let service = launch("no-database").start().await.unwrap().ready().await;
    let greeted = get(service.http().await, "/v1/hello/Ada").await.unwrap();
    assert_eq!(
        (greeted.status, greeted.text()),
        (200.try_into().unwrap(), "Hello, Ada")
    );
    let state = get(service.operator().await, "/api/state").await.unwrap();
    assert!(state.json()["database"].is_null(), "{}", state.text());
    is_clean(&service.stop().await);

    let migrated = launch("no-database").arg("migrate").run().await.unwrap();
    assert_eq!(migrated.stdout, "this service has no database\n");
}

#[tokio::test]
async fn two_databases_are_checked_and_closed() {
    let postgres = Postgres::start().await.unwrap();
    let service = launch("two-databases").set("archive.url", postgres.url("postgres"));
    let service = service.start().await.unwrap().ready().await;
    let ready = get(service.operator().await, "/readyz?verbose")
        .await
        .unwrap();
    for check in ["database", "archive"] {
        assert!(ready.text().contains(check), "{}", ready.text());
    }
    let state = get(service.operator().await, "/api/state").await.unwrap();
    for pool in ["readers", "writer", "connections"] {
        assert!(
            state.json()["database"][pool].is_object(),
            "{}",
            state.text()
        );
    }
    is_clean(&service.stop().await);
}

#[tokio::test]
async fn a_server_of_another_protocol_drains() {
    let service = launch("echo-server").set("shutdown.drain", "10s");
    let service = service.start().await.unwrap().ready().await;
    let listening = service.log().event("the echo server listens").await;
    let address = listening.field("address").as_str().unwrap().to_owned();
    let mut client = TcpStream::connect(&address).await.unwrap();
    client.write_all(b"before").await.unwrap();
    let mut echoed = [0; 6];
    client.read_exact(&mut echoed).await.unwrap();

    service.signal(Signal::TERM);
    service.event("draining").await;
    // What is connected is served on, until it leaves.
    client.write_all(b"during").await.unwrap();
    client.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"during");
    drop(client);

    is_clean(&service.exit().await);
}

fn is_clean(exit: &Exit) {
    assert_eq!(exit.code, Some(0), "{exit}");
    let stopped = exit.event("stopped").unwrap();
    assert_eq!(stopped.field("outcome"), "clean", "{exit}");
}

/// The binary of a shape, built with the others if need be.
fn launch(name: &str) -> Launch {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let place = generated();
        cargo(&place, "the other shapes", &["build", "--workspace"]);
    });
    Service::of(repository::services().join("debug").join(name))
}

/// Generates `hello` once for each shape, and changes its `app.rs` as the page says.
fn generated() -> PathBuf {
    let page = fs::read_to_string(repository::root().join("docs/compose.md")).unwrap();
    let place = repository::projects().join("compose");
    let fresh = tempfile::tempdir_in(repository::projects()).unwrap();
    fs::write(fresh.path().join("Cargo.toml"), MANIFEST).unwrap();
    for (heading, name) in SHAPES {
        let first = SHAPES[0].1;
        let answers = Answers {
            mainstay: (name != first).then(|| format!("../{first}/mainstay")),
            ..Answers::default()
        };
        let project = generate(name, &answers, Place::Below(fresh.path())).unwrap();
        apply(&diff_below(heading, &page), &project);
        for (whose, dependencies) in DEPENDENCIES {
            if whose == name {
                depend(&project, dependencies);
            }
        }
    }
    let lock = repository::template().join("Cargo.lock");
    fs::copy(lock, fresh.path().join("Cargo.lock")).unwrap();
    settle(fresh.path(), &place);
    place
}

/// The first diff below a heading of the page.
fn diff_below(heading: &str, page: &str) -> String {
    let section = page.split(&format!("## {heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("docs/compose.md has no {heading:?}"));
    let diff = section
        .split("```diff\n")
        .nth(1)
        .expect("a section has a diff");
    diff.split("```").next().unwrap_or_default().to_owned()
}

/// Changes `src/app.rs` and nothing else.
fn apply(diff: &str, project: &Path) {
    let files = diff.lines().filter_map(|line| line.strip_prefix("+++ b/"));
    assert_eq!(files.collect::<Vec<_>>(), ["src/app.rs"]);
    let file = project.join("shape.diff");
    fs::write(&file, diff).unwrap();
    let project = project.canonicalize().unwrap();
    let mut git = Command::new("git");
    git.args(["apply", "shape.diff"]).current_dir(&project);
    let output = git
        .env("GIT_CEILING_DIRECTORIES", project.parent().unwrap())
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::remove_file(file).unwrap();
}

fn depend(project: &Path, more: &str) {
    let manifest = project.join("Cargo.toml");
    let mut whole: toml::Table = fs::read_to_string(&manifest).unwrap().parse().unwrap();
    let more: toml::Table = more.parse().unwrap();
    let dependencies = whole["dependencies"].as_table_mut().unwrap();
    for (name, wanted) in more["dependencies"].as_table().unwrap() {
        match dependencies.get_mut(name) {
            Some(existing) => {
                let features = existing["features"].as_array_mut().unwrap();
                features.extend(wanted["features"].as_array().unwrap().clone());
            }
            None => _ = dependencies.insert(name.clone(), wanted.clone()),
        }
    }
    fs::write(manifest, toml::to_string(&whole).unwrap()).unwrap();
}
