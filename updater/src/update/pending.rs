//! A change of the working tree that was begun. It is recorded in the repository's `.git`, so that an
//! interrupted update is completed by the next one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::project::Conflict;

const FILE: &str = "mainstay-update.json";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The branch to be on; none for the current one.
    pub(crate) branch: Option<String>,
    /// The files.
    pub(crate) tree: String,
    pub(crate) conflicts: Vec<Conflict>,
    /// The message of the commit that the owner makes.
    pub(crate) message: String,
}

impl Pending {
    pub(crate) fn save(&self, git_directory: &Path) -> Result<()> {
        let temporary = git_directory.join("mainstay-update.tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        Ok(fs::rename(temporary, git_directory.join(FILE))?)
    }

    pub(crate) fn load(git_directory: &Path) -> Result<Option<Self>> {
        let path = git_directory.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path)?;
        let pending = serde_json::from_slice(&text);
        pending.with_context(|| format!("{} cannot be read", path.display()))
    }

    pub(crate) fn remove(git_directory: &Path) -> Result<()> {
        Ok(fs::remove_file(git_directory.join(FILE))?)
    }
}
