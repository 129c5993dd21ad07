//! The file of the database: whether it is still there, and the files that a close leaves beside it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sqlx::{Error, Executor, SqliteConnection};

/// The file, as it was when it was opened.
#[derive(Debug)]
pub struct Storage {
    file: PathBuf,
    /// Its device and its inode: another file of the same name has others.
    identity: (u64, u64),
}

impl Storage {
    pub(super) fn open(file: &Path) -> Result<Self, Error> {
        Ok(Self {
            file: file.to_owned(),
            identity: identity(file)?,
        })
    }

    /// Fails if the file is gone or replaced. A connection that has it open would not notice.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let file = self.file.clone();
        let found = tokio::task::spawn_blocking(move || identity(&file)).await;
        let problem = match found.map_err(io::Error::other)? {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_) => "was replaced".to_owned(),
            Err(error) => format!("cannot be found: {error}"),
        };
        let problem = format!("the file {} {problem}", self.file.display());
        Err(io::Error::new(io::ErrorKind::NotFound, problem).into())
    }

    /// Logs that the write-ahead log is still there after the last connection has closed: the disk is full, or
    /// another process has the database open.
    pub(super) fn warn_of_leftovers(&self) {
        let mut log = self.file.clone().into_os_string();
        log.push("-wal");
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            tracing::warn!(
                file = %Path::new(&log).display(),
                "the database's log stays beside it; nothing is lost, and the next start reads it"
            );
        }
    }
}

fn identity(file: &Path) -> Result<(u64, u64), io::Error> {
    let found = fs::metadata(file)?;
    Ok((found.dev(), found.ino()))
}

/// Reads the schema from the file instead of the cache.
pub(super) async fn probe(connection: &mut SqliteConnection) -> Result<(), Error> {
    // Not prepared: it takes effect while it is prepared.
    let shrink = sqlx::raw_sql("PRAGMA shrink_memory");
    (&mut *connection).execute(shrink).await?;
    let query = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema");
    let tables: i64 = query.fetch_one(connection).await?;
    if tables > 0 {
        return Ok(());
    }
    let problem = "the database has no tables any more";
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem).into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::database::on_sqlite::suite::Fixture;

    #[tokio::test]
    async fn removed_file_is_reported_and_not_replaced() {
        let fixture = Fixture::new().await;
        let file = fixture.scratch.url().strip_prefix("sqlite:").unwrap();
        std::fs::remove_file(file).unwrap();
        // The first read: it opens a new connection.
        let error = fixture.database.ping().await.unwrap_err();
        assert!(error.to_string().contains("cannot be found"), "{error}");
        let error = sqlx::query("SELECT 1")
            .execute(fixture.database.read())
            .await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("unable to open"), "{error}");
        assert!(!Path::new(file).exists());
    }

    #[tokio::test]
    async fn ping_notices_a_damaged_removed_or_replaced_file() {
        for what in ["damaged", "emptied", "removed", "replaced"] {
            let fixture = Fixture::new().await;
            let file = Path::new(fixture.scratch.url().strip_prefix("sqlite:").unwrap());
            let database = &fixture.database;
            // All of it is in the file, and some of it remembered.
            let checkpoint = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
            checkpoint.execute(database.write()).await.unwrap();
            assert_eq!(fixture.count().await, 0);
            for _ in 0..2 {
                database.ping().await.unwrap();
            }
            match what {
                "damaged" => {
                    let damaged = File::options().write(true).open(file).unwrap();
                    damaged.write_all_at(&[0xff; 1000], 0).unwrap();
                }
                "emptied" => File::options()
                    .write(true)
                    .open(file)
                    .unwrap()
                    .set_len(0)
                    .unwrap(),
                "removed" => fs::remove_file(file).unwrap(),
                _ => {
                    let other = file.with_extension("copy");
                    fs::copy(file, &other).unwrap();
                    fs::rename(&other, file).unwrap();
                }
            }
            assert!(database.ping().await.is_err(), "{what}");
        }
    }
}
