//! The prerequisites of the tests beyond Rust and a C compiler: checks for them, installs them
//! where that is allowed, or names them exactly.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};

use crate::postgres;

/// Ensures that all prerequisites are installed.
pub fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !(rustix::process::getuid().is_root() && Path::new("/usr/bin/apt-get").exists()) {
        bail!("the tests need programs that are not here: sudo apt-get install {packages}");
    }
    eprintln!("The tests need {packages}: about a minute and 700 MB with apt-get.");
    if io::stdin().is_terminal() && !is_confirmed()? {
        bail!("nothing was installed; the tests need {packages}");
    }
    eprintln!("Installing {packages} with apt-get …");
    apt_get(&["update", "-q"], &[])?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    apt_get(&install, &missing)
}

/// Asks for confirmation at the terminal.
fn is_confirmed() -> Result<bool> {
    eprint!("Install them? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The Debian packages that are missing.
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

/// Whether Python can create virtual environments: Debian has `venv` in a separate package.
fn makes_environments() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]);
    let status = python.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether the program can be started. Its exit status does not matter.
fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn apt_get(command: &[&str], packages: &[&str]) -> Result<()> {
    let mut apt_get = Command::new("apt-get");
    apt_get.args(command).args(packages);
    let status = apt_get.env("DEBIAN_FRONTEND", "noninteractive").status()?;
    ensure!(status.success(), "{apt_get:?} failed with {status}");
    Ok(())
}
