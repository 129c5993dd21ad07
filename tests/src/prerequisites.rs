//! The prerequisites of the tests beyond Rust and a C compiler: checks for them, installs them
//! where that is allowed, or names them exactly.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::Command;

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
    if postgres::programs().is_err() {
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
