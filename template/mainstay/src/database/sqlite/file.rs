//! The file itself, as the file system has it: whether it is still there, and what is left beside it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Executor, Sqlite};

/// The file, as it was found at the start.
#[derive(Debug, Clone)]
pub struct Storage {
    file: PathBuf,
    /// Its device and its number there: another file by the same name has another one.
    identity: (u64, u64),
}

impl Storage {
    pub(super) fn open(url: &str) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::from_str(url)?;
        let file = options.get_filename().to_owned();
        let identity = identity(&file)?;
        Ok(Self { file, identity })
    }

    /// Whether it is still there. Whoever has it open would not notice.
    pub(super) async fn check(&self) -> Result<(), sqlx::Error> {
        let file = self.file.clone();
        // The disk may take its time.
        let found = tokio::task::spawn_blocking(move || identity(&file)).await;
        let words = match found.map_err(io::Error::other)? {
            Ok(found) if found == self.identity => return Ok(()),
            Ok(_) => "is another one than at the start".to_owned(),
            Err(error) => format!("cannot be found: {error}"),
        };
        let words = format!("the file {} {words}", self.file.display());
        Err(io::Error::new(io::ErrorKind::NotFound, words).into())
    }

    /// Says so if the log is still there after the last connection has closed: then what is in it could not be
    /// brought into the file, for want of room or since another process has it open.
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

/// Reads the schema from the file, and not from what is remembered of it. A disk that is full is not
/// noticed by that: it can be read.
pub(super) async fn probe<L>(lease: &mut L) -> Result<(), sqlx::Error>
where
    L: Send,
    for<'c> &'c mut L: Executor<'c, Database = Sqlite>,
{
    // Not prepared, since it is done as soon as that.
    (&mut *lease)
        .execute(sqlx::raw_sql("PRAGMA shrink_memory"))
        .await?;
    let query = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema");
    let known: i64 = query.fetch_one(lease).await?;
    if known > 0 {
        return Ok(());
    }
    let words = "there is nothing in the database any more";
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, words).into())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::database::on_sqlite::suite::Fixture;

    #[tokio::test]
    async fn a_file_that_goes_away_is_missed_and_not_replaced() {
        let fixture = Fixture::new().await;
        let file = fixture.scratch.url().strip_prefix("sqlite:").unwrap();
        std::fs::remove_file(file).unwrap();
        // Nobody has read so far: this is a new connection.
        let missed = fixture.database.ping().await.unwrap_err();
        assert!(missed.to_string().contains("cannot be found"), "{missed}");
        let missed = sqlx::query("SELECT 1")
            .execute(fixture.database.read())
            .await;
        let missed = missed.unwrap_err().to_string();
        assert!(missed.contains("unable to open"), "{missed}");
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
