//! Finds the programs of Postgres, and the user that runs them.

use std::{
    env, fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

/// Debian and Ubuntu keep programs outside of the `PATH` here: a directory for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

#[derive(Debug)]
pub(super) struct Installation {
    programs: PathBuf,
    /// `None`: run as the current user.
    account: Option<Account>,
}

/// The server's user when the tests run as root, which Postgres refuses.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Installation {
    /// Searches the `PATH`, then the versions that Debian installs side by side, highest first.
    pub(super) fn find() -> anyhow::Result<Installation> {
        let programs = find_programs()?;
        let account = if rustix::process::getuid().is_root() {
            let account = Account::named("postgres").or_else(|| Account::named("nobody"));
            Some(account.context("there is no user `postgres` or `nobody` to run PostgreSQL")?)
        } else {
            None
        };
        Ok(Installation { programs, account })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A command for a program that refuses to run as root. `setpriv` becomes the program by
    /// `exec`, and keeps its process id.
    pub(super) fn command(&self, name: &str) -> Command {
        let program = self.program(name);
        let Some(Account { user, group }) = self.account else {
            return Command::new(program);
        };
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={group}"));
        command.args(["--clear-groups", "--"]).arg(program);
        command
    }

    /// Makes the server's user the owner of a file or directory.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        self.account
            .map_or(Ok(()), |to| chown(path, Some(to.user), Some(to.group)))
    }
}

impl Account {
    fn named(name: &str) -> Option<Account> {
        let id = |kind: &str| {
            let output = Command::new("id").args([kind, name]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        Some(Account {
            user: id("-u")?,
            group: id("-g")?,
        })
    }
}

fn find_programs() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut by_version: Vec<(u32, PathBuf)> = fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            Some((name.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    by_version.sort_by_key(|(version, _)| std::cmp::Reverse(*version));

    let complete = |directory: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| directory.join(program).is_file())
    };
    let mut candidates = env::split_paths(&path).chain(by_version.into_iter().map(|(_, bin)| bin));
    candidates.find(complete).with_context(|| {
        format!(
            "PostgreSQL's server is not installed: `initdb`, `postgres` and `psql` are neither in one \
             directory of the PATH nor in {VERSIONS}/*/bin; `cargo run -- test` installs it"
        )
    })
}
