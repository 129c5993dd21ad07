//! The prerequisites of the tests beyond Rust and a C compiler: checks for them, installs them
//! where that is allowed, or names them exactly.

use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

/// Debian and Ubuntu keep programs outside of the `PATH` here: a directory for each version.
const POSTGRES_VERSIONS: &str = "/usr/lib/postgresql";

/// Ensures that all prerequisites are installed.
pub fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    // Without a crate for `getuid`.
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !(is_root && Path::new("/usr/bin/apt-get").exists()) {
        bail!("the tests need programs that are not here: sudo apt-get install {packages}");
    }
    eprintln!("The tests need {packages}: about a minute and 700 MB with apt-get.");
    apt_get(&["update", "-q"])?;
    let mut install = vec!["install", "-q", "--no-install-recommends"];
    // At a terminal, apt-get asks for confirmation.
    if !io::stdin().is_terminal() {
        install.push("-y");
    }
    apt_get(&[install, missing].concat())
}

/// The Debian packages that are missing.
fn missing() -> Vec<&'static str> {
    let mut packages = Vec::new();
    if postgres_programs().is_err() {
        packages.push("postgresql");
    }
    // Debian has Python's `venv` in a separate package.
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]);
    if !python.output().is_ok_and(|output| output.status.success()) {
        packages.push("python3-venv");
    }
    for (program, package) in [
        ("chromium", "chromium"),
        ("curl", "curl"),
        ("git", "git"),
        ("ip", "iproute2"),
        ("sqlite3", "sqlite3"),
        ("unshare", "util-linux"),
    ] {
        // Its exit status does not matter.
        if Command::new(program).arg("--version").output().is_err() {
            packages.push(package);
        }
    }
    packages
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut apt_get = Command::new("apt-get");
    apt_get.args(arguments);
    let status = apt_get.env("DEBIAN_FRONTEND", "noninteractive").status()?;
    ensure!(status.success(), "{apt_get:?} failed with {status}");
    Ok(())
}

/// The directory of the programs of a Postgres server. The error says what to install.
pub fn postgres_programs() -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(POSTGRES_VERSIONS)
        .into_iter()
        .flatten()
        .flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    let is_complete = |directory: &PathBuf| {
        let mut programs = ["initdb", "postgres", "psql"].iter();
        programs.all(|program| directory.join(program).is_file())
    };
    let found = env::split_paths(&path).chain(versions).find(is_complete);
    found.with_context(|| {
        format!(
            "PostgreSQL's server is not installed: `initdb`, `postgres` and `psql` are neither in one \
             directory of the PATH nor in {POSTGRES_VERSIONS}/*/bin; `cargo run -- test` installs it"
        )
    })
}
