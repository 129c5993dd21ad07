//! `cargo run -- copy-data`: a million checks of the monitor, from SQLite to Postgres.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use harness::fleet;
use harness::postgres::Postgres;
use harness::service::Service;

use crate::UPDATER;

const CHECKS: &str = "1000000";

/// A thousand targets, of which one is deleted, and their checks.
const FILL: &str = "
    PRAGMA foreign_keys = ON;
    INSERT INTO targets
        (url, name, interval_seconds, timeout_seconds, enabled, created_at, updated_at, version)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001)
        SELECT 'http://host/' || i, iif(i % 3, 'tab' || char(9) || 'line' || char(10, 8, 27) || '\\ü', NULL),
            60, 5, i % 2, i, i, 1 FROM n;
    INSERT INTO schedule SELECT id, id, 0, 60 FROM targets;
    INSERT INTO checks
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < CHECKS - 1)
        SELECT 1 + i % 1000, i / 1000, i, iif(i % 3, 'timeout', NULL), iif(i % 3, NULL, 200), i % 97 FROM n;
    DELETE FROM targets WHERE id = 1001;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn million_checks_are_copied_and_an_interruption_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("data/service.db");
    let migrate = Service::of(fleet::MONITOR.binary()).directory(directory.path());
    assert_eq!(migrate.arg("migrate").run().await.unwrap().code, Some(0));
    let script = directory.path().join("fill.sql");
    fs::write(&script, FILL.replace("CHECKS", CHECKS)).unwrap();
    sqlite(&database, &format!(".read {}", script.display()));

    let postgres = Postgres::start().await.unwrap();
    postgres.create_database("monitor").await.unwrap();
    let url = postgres.url("monitor");
    let target = Target { database, url };
    // A database without tables.
    target.refuses(&[], "Postgres");

    let migrate = Service::of(fleet::MONITOR_ON_POSTGRES.binary());
    let migrate = migrate
        .env("APP__DATABASE__URL", &target.url)
        .arg("migrate");
    assert_eq!(migrate.run().await.unwrap().code, Some(0));
    let count = async || {
        let count = postgres
            .query("monitor", "SELECT count(*) FROM checks")
            .await;
        count.unwrap().trim().to_owned()
    };

    let mut child = target.command(&[]).stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count().await, "0", "an interrupted copy leaves nothing");

    let copied = target.copy(&[]);
    let said = String::from_utf8_lossy(&copied.stdout);
    assert!(copied.status.success(), "{copied:?}");
    assert!(
        said.contains(&format!("checks: {CHECKS} rows, checksum")),
        "{said}"
    );
    assert_eq!(count().await, CHECKS);
    // Numbers that SQLite has given out are not given out again.
    let next = "INSERT INTO targets (url, interval_seconds, timeout_seconds, enabled, created_at, updated_at, version) \
                VALUES ('http://new/', 60, 5, true, 1, 1, 1) RETURNING id";
    let next = postgres.query("monitor", next).await.unwrap();
    assert_eq!(next.lines().next(), Some("1002"));

    target.refuses(&[], "--replace");
    let name = |value| {
        let update = format!("UPDATE targets SET name = {value} WHERE id = 1");
        sqlite(&target.database, &update);
    };
    name("'a' || char(0) || 'b'");
    target.refuses(&["--replace"], "a text with a NUL");
    name("'a'");
    sqlite(&target.database, "DELETE FROM checks WHERE target_id > 10");
    assert!(target.copy(&["--replace"]).status.success());
    assert_eq!(count().await, "10000");
}

struct Target {
    database: PathBuf,
    url: String,
}

impl Target {
    fn command(&self, options: &[&str]) -> Command {
        let mut copy = Command::new(&*UPDATER);
        copy.arg("copy-data")
            .arg(&self.database)
            .arg(&self.url)
            .args(options);
        copy
    }

    fn copy(&self, options: &[&str]) -> Output {
        self.command(options).output().unwrap()
    }

    #[track_caller]
    fn refuses(&self, options: &[&str], words: &str) {
        let error = self.copy(options).stderr;
        let error = String::from_utf8_lossy(&error);
        assert!(error.contains(words), "{words}: {error}");
    }
}

fn sqlite(database: &Path, statement: &str) {
    let mut sqlite = Command::new("sqlite3");
    let status = sqlite.arg(database).arg(statement).status();
    assert!(status.unwrap().success(), "{statement}");
}
