//! A Postgres database for each test: on the server at `DATABASE_URL`, whose user must be allowed to create
//! databases, or on one that the first test of the process starts. That server keeps its data in a temporary
//! directory, listens on a socket in it, and ends with the process.

use std::io::{BufRead, BufReader, Write};
use std::process::{self, Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};

use sqlx::Postgres;
use url::Url;

use super::{Scratch, TestEngine};
use crate::panics::lock;

/// Runs the statements that it reads from stdin, one a line, and answers each with the URL of the server, or with an
/// empty line. Stops the server that it has started when stdin closes, at the end of the tests' process.
const SCRIPT: &str = r#"
    for programs in /usr/lib/postgresql/*/bin; do PATH="$programs:$PATH"; done
    url="$DATABASE_URL"
    if [ -z "$url" ]; then
        directory="$(mktemp -d -t pg-XXXXXX)" && cd "$directory" || exit
        as_user() { "$@"; }
        if [ "$(id -u)" = 0 ]; then
            # The server refuses to run as root.
            chown postgres "$directory"
            as_user() { setpriv --reuid=postgres --regid=postgres --clear-groups -- "$@"; }
        fi
        as_user initdb --pgdata="$directory/data" --username=postgres --auth=trust --no-sync --encoding=UTF8 --locale=C >/dev/null
        as_user pg_ctl start --pgdata="$directory/data" --log="$directory/data/log" --wait --silent \
            --options="-k $directory -c listen_addresses= -c fsync=off -c max_connections=200" </dev/null
        url="postgres://postgres@localhost/postgres?host=$directory"
    fi
    while read -r statement; do
        psql "$url" --quiet --command="$statement" </dev/null >/dev/null && echo "$url" || echo
    done
    if [ -n "$directory" ]; then
        as_user pg_ctl stop --pgdata="$directory/data" --mode=immediate --silent
        rm -rf "$directory"
    fi
"#;

static SHELL: LazyLock<Mutex<(Child, BufReader<ChildStdout>)>> = LazyLock::new(|| {
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", SCRIPT]).stdin(Stdio::piped());
    let mut shell = shell.stdout(Stdio::piped()).spawn().expect("sh runs");
    let stdout = shell.stdout.take().expect("stdout is piped");
    Mutex::new((shell, BufReader::new(stdout)))
});

fn perform(statement: &str) -> Option<Url> {
    let (shell, stdout) = &mut *lock(&SHELL);
    let mut url = String::new();
    writeln!(shell.stdin.as_ref()?, "{statement}").ok()?;
    stdout.read_line(&mut url).ok()?;
    Url::parse(&url).ok()
}

struct Created(String);

impl TestEngine for Postgres {
    fn scratch() -> Scratch {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("scratch_{}_{number}", process::id());
        // Copies the files, which is faster than to log an empty database.
        let server = perform(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy"
        ));
        let mut url = server.expect(
            "no PostgreSQL for the tests: install it (initdb, pg_ctl, psql), or name a server in DATABASE_URL",
        );
        url.set_path(&name);
        Scratch {
            url: url.into(),
            guard: Box::new(Created(name)),
        }
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        // Connections that a test has forgotten must not prevent it.
        perform(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.0));
    }
}
