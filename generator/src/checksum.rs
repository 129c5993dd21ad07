//! The checksum of the machinery. A project records it, so that an update can detect edits of the
//! copy.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::files::files;

/// The checksum over the paths and contents of all files below a directory.
///
/// The same in a shell, in that directory:
/// `find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`.
pub fn of(directory: &Path) -> Result<String> {
    let mut names = Vec::new();
    for file in files(directory) {
        let name = file.to_str();
        let name = name.with_context(|| format!("{} is not UTF-8", file.display()))?;
        names.push(name.to_owned());
    }
    of_files(directory, names)
}

/// The same over some files of the directory.
pub fn of_files(directory: &Path, names: impl IntoIterator<Item = String>) -> Result<String> {
    let mut names: Vec<_> = names.into_iter().collect();
    // By bytes: `Path` compares component by component, which gives another order.
    names.sort();
    let mut sums = String::new();
    for name in names {
        let path = directory.join(&name);
        let content =
            fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        writeln!(sums, "{}  ./{name}", in_hex(&content))?;
    }
    Ok(in_hex(sums.as_bytes()))
}

fn in_hex(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}
