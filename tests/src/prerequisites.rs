//! What the tests need beyond Rust and a C compiler: found, installed where that is allowed, or
//! named exactly.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::postgres;

/// Makes sure that everything the tests need is here.
pub fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !(rustix::process::getuid().is_root() && Path::new("/usr/bin/apt-get").exists()) {
        bail!(
            "the tests need programs that are not here.\n\
             On Debian or Ubuntu: sudo apt-get install {packages}\n\
             Elsewhere: whatever has PostgreSQL's initdb and postgres on PATH, chromium, curl, git, \
             ip, python3 with its venv, sqlite3 and unshare"
        );
    }
    eprintln!("The tests need {packages}: about a minute and 700 MB with apt-get.");
    if io::stdin().is_terminal() && !is_confirmed()? {
        bail!("nothing was installed; the tests need {packages}");
    }
    eprintln!("Installing {packages} with apt-get …");
    apt_get(&["update", "-q"])?;
    apt_get(
        &[
            &["install", "-q", "-y", "--no-install-recommends"],
            missing.as_slice(),
        ]
        .concat(),
    )
}

/// Asks the person at the terminal.
fn is_confirmed() -> Result<bool> {
    eprint!("Install them? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The Debian packages of what is not here.
fn missing() -> Vec<&'static str> {
    let mut packages = Vec::new();
    if !postgres::is_installed() {
        packages.push("postgresql");
    }
    if !makes_environments() {
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
        if !runs(program) {
            packages.push(package);
        }
    }
    packages
}

/// Debian has the module that this needs in a package of its own.
fn makes_environments() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]);
    let status = python.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether it can be started: what it makes of the argument is its own affair.
fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()?;
    if !status.success() {
        bail!("`apt-get {}` failed with {status}", arguments.join(" "));
    }
    Ok(())
}
