//! What the tests need beyond Rust and a C compiler: found, installed where that is allowed, or
//! named exactly.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::postgres;

/// Makes sure that everything the tests need is here.
pub fn ensure() -> Result<()> {
    if postgres::is_installed() {
        return Ok(());
    }
    let packages = ["postgresql"];
    if !(rustix::process::getuid().is_root() && Path::new("/usr/bin/apt-get").exists()) {
        bail!(
            "the tests need PostgreSQL's server programs (initdb, postgres), which are not on \
             PATH nor in /usr/lib/postgresql/*/bin.\nOn Debian or Ubuntu: sudo apt-get install {}",
            packages.join(" ")
        );
    }
    eprintln!("Installing {} with apt-get …", packages.join(" "));
    apt_get(&["update", "-q"])?;
    apt_get(
        &[
            &["install", "-q", "-y", "--no-install-recommends"],
            packages.as_slice(),
        ]
        .concat(),
    )?;
    Ok(())
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
