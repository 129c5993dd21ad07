//! The file of a database on SQLite: its creation, its lock, and whether it is still there.

#![expect(
    clippy::disallowed_methods,
    reason = "the file is opened at the start, and looked at on a blocking thread"
)]

use std::fs::{self, File, TryLockError};
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
    /// Creates the file here and only here: one that disappears later is an error, and is not replaced by an empty one.
    pub(super) fn open_or_create(path: PathBuf) -> io::Result<Self> {
        let created = fs::create_dir_all(directory_of(&path));
        let created = created.and_then(|()| File::create_new(&path));
        let identity = identity(&path).map_err(|missing| {
            let error = created.err().unwrap_or(missing);
            io::Error::other(format!("{} cannot be created: {error}", path.display()))
        })?;
        Ok(Self { path, identity })
    }

    pub(super) fn exists(path: &Path) -> bool {
        path.exists()
    }

    /// Fails if the file is gone or replaced. A connection that has it open would not notice.
    pub(super) async fn check(&self) -> io::Result<()> {
        let path = self.path.clone();
        let found = tokio::task::spawn_blocking(move || identity(&path)).await?;
        if found.is_ok_and(|found| found == self.identity) {
            return Ok(());
        }
        let problem = format!("the file {} was removed or replaced", self.path.display());
        Err(io::Error::new(io::ErrorKind::NotFound, problem))
    }

    /// The lock under which a process migrates; `None` while another process holds it. It is on the directory: a
    /// lock file would stay behind, and the database file has locks of SQLite.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        let directory = File::open(directory_of(&self.path))?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(directory)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn directory_of(file: &Path) -> &Path {
    let directory = file.parent().filter(|path| *path != Path::new(""));
    directory.unwrap_or(Path::new("."))
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let found = fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}
