//! A Postgres database for each test: on the server at `DATABASE_URL`, whose user must be allowed to create
//! databases, or on one that the first test of the process starts. That server keeps its data in a temporary
//! directory, listens on a socket in it, and ends with the process.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres};
use url::Url;

use super::TestEngine;

/// Drops the database when it is dropped.
#[derive(Debug)]
pub struct Guard {
    server: String,
    name: String,
}

impl TestEngine for Postgres {
    type Guard = Guard;

    fn create() -> (String, Guard) {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let server = server();
        let name = format!("scratch_{}_{number}", process::id());
        // Copies the files, which is faster than to log an empty database.
        perform(
            &server,
            format!("CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy"),
        );
        let mut url = Url::parse(&server).expect("the URL of a server");
        url.set_path(&name);
        (url.into(), Guard { server, name })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Connections that a test has forgotten must not prevent it.
        perform(
            &self.server,
            format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
        );
    }
}

/// Runs a statement in a thread of its own: a drop may happen inside of another runtime.
fn perform(server: &str, statement: String) {
    let server = server.to_owned();
    let worker = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&server).await?;
            connection.execute(AssertSqlSafe(statement)).await?;
            connection.close().await
        })
    });
    let done = worker.join().expect("the thread does not panic");
    if let Err(error) = done
        && !thread::panicking()
    {
        panic!("the tests' database server (DATABASE_URL): {error}");
    }
}

/// The URL of the server.
fn server() -> String {
    static SERVER: OnceLock<String> = OnceLock::new();
    let started = || env::var("DATABASE_URL").unwrap_or_else(|_| start());
    SERVER.get_or_init(started).clone()
}

/// Starts a server, and waits until it can be used.
fn start() -> String {
    let programs = programs().unwrap_or_else(|| {
        panic!(
            "no PostgreSQL for the tests: neither is DATABASE_URL set, nor is `initdb` on the PATH \
             or below /usr/lib/postgresql; install postgresql, or name a server"
        )
    });
    let directory = tempfile::Builder::new().prefix("pg-").tempdir();
    let directory = directory.expect("a directory for a server").keep();
    // The shell stops the server when its stdin closes, which happens at the end of this process.
    let script = r#"
        as_user() { "$@"; }
        if [ "$(id -u)" = 0 ]; then
            # The server refuses to run as root.
            user=postgres
            id "$user" >/dev/null 2>&1 || user=nobody
            chown "$user" "$1"
            as_user() {
                setpriv --reuid="$(id -u "$user")" --regid="$(id -g "$user")" --clear-groups -- "$@"
            }
        fi
        cd "$1" || exit
        as_user "$2/initdb" --pgdata="$1/data" --username=postgres --auth=trust --no-sync \
            --encoding=UTF8 --locale=C >"$1/log" 2>&1 || exit
        as_user "$2/pg_ctl" start --pgdata="$1/data" --log="$1/data/log" --wait --silent \
            --options="-k $1 -c listen_addresses= -c fsync=off -c max_connections=200" \
            >>"$1/log" 2>&1 </dev/null || exit
        echo ready
        cat >/dev/null
        as_user "$2/pg_ctl" stop --pgdata="$1/data" --mode=immediate --silent >/dev/null 2>&1
        rm -rf "$1"
    "#;
    let mut server = Command::new("sh")
        .args(["-c", script, "sh"])
        .args([&directory, &programs])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    assert!(is_ready(&mut server), "{}", startup_log(&directory));
    // Keeps its stdin open until this process ends.
    std::mem::forget(server);
    format!(
        "postgres://postgres@localhost/postgres?host={}",
        directory.display()
    )
}

fn is_ready(server: &mut Child) -> bool {
    use std::io::{BufRead, BufReader};
    let mut line = String::new();
    let stdout = server.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).is_ok() && line == "ready\n"
}

fn startup_log(directory: &Path) -> String {
    let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
    format!("PostgreSQL does not start:\n{log}")
}

/// Where PostgreSQL's programs are: on the `PATH`, or where Debian keeps them.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<_> = versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    versions.sort();
    env::split_paths(&path)
        .chain(versions.into_iter().rev())
        .find(|place| place.join("initdb").exists())
}
