//! The file of a database on SQLite: whether it is still there, and the log that a close leaves beside it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct DataFile {
    path: PathBuf,
    /// Its device and its inode: another file of the same name has others.
    identity: (u64, u64),
}

impl DataFile {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let identity = identity(&path)?;
        Ok(Self { path, identity })
    }

    /// Fails if the file is gone or replaced. A connection that has it open would not notice.
    pub(super) async fn check(&self) -> io::Result<()> {
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || identity(&path)).await?;
        let problem = match found {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_) => "was replaced".to_owned(),
            Err(error) => format!("cannot be found: {error}"),
        };
        let problem = format!("the file {} {problem}", self.path.display());
        Err(io::Error::new(io::ErrorKind::NotFound, problem))
    }

    /// Logs that the write-ahead log is still there after the last connection has closed: the disk is full, or
    /// another process has the database open.
    pub(super) fn warn_of_wal(&self) {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            tracing::warn!(
                file = %Path::new(&log).display(),
                "the database's log stays beside it; nothing is lost, and the next start reads it"
            );
        }
    }
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}
