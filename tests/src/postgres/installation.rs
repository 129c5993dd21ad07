//! Finds the programs of Postgres, and the user that runs them.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// Debian and Ubuntu keep programs outside of the `PATH` here: a directory for each version.
const VERSIONS: &str = "/usr/lib/postgresql";

#[derive(Debug)]
pub(super) struct Installation {
    programs: PathBuf,
    /// `None`: run as the current user.
    account: Option<Account>,
}

/// The server's user when the tests run as root, which Postgres refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    user: u32,
    group: u32,
}

impl Installation {
    /// Searches the `PATH`, then the versions that Debian installs side by side, highest first.
    pub(super) fn find() -> anyhow::Result<Installation> {
        let programs = find_in(
            &env::var_os("PATH").unwrap_or_default(),
            Path::new(VERSIONS),
        )?;
        let account = if rustix::process::getuid().is_root() {
            let users =
                fs::read_to_string("/etc/passwd").context("cannot read the list of users")?;
            let account = Account::named("postgres", &users).or(Account::named("nobody", &users));
            Some(account.context(
                "PostgreSQL cannot run as root, and there is no user `postgres` or `nobody`",
            )?)
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
    /// Parses a line such as `postgres:x:101:104:Postgres
    /// administrator:/var/lib/postgresql:/bin/bash`.
    fn named(name: &str, users: &str) -> Option<Account> {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (user, group) =
                (fields.next() == Some(name)).then(|| (fields.nth(1), fields.next()))?;
            Some(Account {
                user: user?.parse().ok()?,
                group: group?.parse().ok()?,
            })
        })
    }
}

fn find_in(path: &OsStr, versions: &Path) -> anyhow::Result<PathBuf> {
    let mut by_version: Vec<(u32, PathBuf)> = fs::read_dir(versions)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            // `9.6` was the last major version with a point.
            Some((
                name.split('.').next()?.parse().ok()?,
                entry.path().join("bin"),
            ))
        })
        .collect();
    by_version.sort_by_key(|(version, _)| std::cmp::Reverse(*version));

    let complete = |directory: &PathBuf| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| directory.join(program).is_file())
    };
    let mut candidates = env::split_paths(path).chain(by_version.into_iter().map(|(_, bin)| bin));
    let Some(found) = candidates.find(complete) else {
        bail!(
            "PostgreSQL's server is not installed: `initdb`, `postgres` and `psql` are neither in one \
             directory of the PATH nor in {}/*/bin.\nInstall it with `apt-get install postgresql`, or run \
             `cargo run -- test`, which does so where it may.",
            versions.display()
        );
    };
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(root: &Path, version: &str) -> PathBuf {
        let bin = root.join(version).join("bin");
        fs::create_dir_all(&bin).unwrap();
        for program in ["initdb", "postgres", "psql"] {
            fs::write(bin.join(program), "").unwrap();
        }
        bin
    }

    #[test]
    fn the_path_comes_first_and_then_the_highest_version() {
        let root = tempfile::tempdir().unwrap();
        let versions = ["9.6", "15", "17"].map(|version| install(root.path(), version));
        // Without server programs, as when only the client is installed.
        fs::create_dir_all(root.path().join("18/bin")).unwrap();

        assert_eq!(
            find_in(OsStr::new("/nowhere"), root.path()).unwrap(),
            versions[2]
        );
        assert_eq!(
            find_in(versions[0].as_os_str(), root.path()).unwrap(),
            versions[0]
        );
    }

    #[test]
    fn what_is_missing_is_said_with_its_cure() {
        let error = find_in(OsStr::new("/nowhere"), Path::new("/nowhere"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("apt-get install postgresql"), "{error}");
        assert!(error.contains("cargo run -- test"), "{error}");
    }

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let users =
            "postgres2:x:7:8::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(
            Account::named("postgres", users),
            Some(Account {
                user: 101,
                group: 104
            })
        );
        assert_eq!(Account::named("nobody", users), None);
    }
}
