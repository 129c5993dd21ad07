//! A Postgres database for each test: on the server at `DATABASE_URL`, whose user must be allowed to create
//! databases, or on one that the first test of the process starts. That server keeps its data in a temporary
//! directory, listens on a socket in it, and ends with the process.

use std::env;
use std::io::{BufRead, BufReader};
use std::mem;
use std::process::{self, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Postgres};
use tokio::runtime::Builder;
use url::Url;

use super::Guard;
use super::TestEngine;

/// Starts a server in a new directory, prints its path, and stops the server when stdin closes, at the end of the
/// tests' process.
const SERVER: &str = r#"
    set -e
    directory="$(mktemp -d -t pg-XXXXXX)"
    cd "$directory"
    PATH="$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)"
    as_user() { "$@"; }
    if [ "$(id -u)" = 0 ]; then
        # The server refuses to run as root.
        chown postgres "$directory"
        as_user() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }
    fi
    as_user initdb --pgdata="$directory/data" --username=postgres --auth=trust --no-sync --encoding=UTF8 --locale=C >/dev/null
    as_user pg_ctl start --pgdata="$directory/data" --log="$directory/data/log" --wait --silent \
        --options="-k $directory -c listen_addresses= -c fsync=off -c max_connections=200" </dev/null
    echo "$directory"
    cat >/dev/null
    as_user pg_ctl stop --pgdata="$directory/data" --mode=immediate --silent
    rm -rf "$directory"
"#;

/// Drops the database of this name when it is dropped.
struct Created(String);

impl TestEngine for Postgres {
    fn create() -> (String, Guard) {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("scratch_{}_{number}", process::id());
        // Copies the files, which is faster than to log an empty database.
        perform(format!(
            "CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy"
        ));
        let mut url = Url::parse(server()).expect("the URL of a server");
        url.set_path(&name);
        (url.into(), Box::new(Created(name)))
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // Connections that a test has forgotten must not prevent it.
        perform(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.0));
    }
}

/// Runs a statement in a thread of its own: a drop may happen inside of another runtime.
fn perform(statement: String) {
    let worker = thread::spawn(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut connection = PgConnection::connect(server()).await?;
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
fn server() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| env::var("DATABASE_URL").unwrap_or_else(|_| start()))
}

/// Starts a server, and waits until it can be used.
fn start() -> String {
    let mut server = Command::new("sh")
        .args(["-c", SERVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut directory = String::new();
    let stdout = server.stdout.take().expect("stdout is piped");
    _ = BufReader::new(stdout).read_line(&mut directory);
    let directory = directory.strip_suffix('\n').expect(
        "no PostgreSQL for the tests: install it (initdb and pg_ctl), or name a server in DATABASE_URL",
    );
    // Keeps its stdin open until this process ends.
    mem::forget(server);
    format!("postgres://postgres@localhost/postgres?host={directory}")
}
