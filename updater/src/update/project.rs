//! The git repository of a project: trees, the merge, and the result.
//!
//! Everything is computed in the object database first. Only [`Project::branch`] and
//! [`Project::check_out`] change what the owner sees.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::pending::Pending;
use crate::git::{commit_options, git};
use crate::succeed;

/// git's name for the absence of an object.
const NO_OBJECT: &str = "0000000000000000000000000000000000000000";

/// Changes an index by lines of its input.
const UPDATE_INDEX: [&str; 3] = ["update-index", "-z", "--index-info"];

/// A project in a working tree of git, possibly in a subdirectory of it.
pub(crate) struct Project {
    pub(crate) directory: PathBuf,
    /// The root of the working tree.
    root: PathBuf,
    /// The path of the project in the repository, with a slash at its end; empty for the root.
    prefix: String,
}

/// A path with a conflict, and the versions that git could not merge.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Conflict {
    pub(crate) path: String,
    /// Mode, object and stage: 1 is the old template, 2 the project, 3 the new template.
    pub(crate) versions: Vec<(String, String, u8)>,
}

/// A merge of the new template into the project.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The tree of the whole repository. Files with conflicts have markers.
    pub(crate) tree: String,
    pub(crate) conflicts: Vec<Conflict>,
}

impl Conflict {
    pub(crate) fn has(&self, stage: u8) -> bool {
        self.versions.iter().any(|(_, _, of)| *of == stage)
    }
}

impl Project {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let directory = directory.canonicalize();
        let directory = directory.context("the project's directory cannot be found")?;
        let mut project = Self {
            root: directory.clone(),
            prefix: String::new(),
            directory,
        };
        let root = project.git(&["rev-parse", "--show-toplevel"]);
        let root = root.with_context(|| {
            let place = project.directory.display();
            format!("{place} is not in a git repository: an update is a merge. Run `git init` and commit first")
        })?;
        project.prefix = project.git(&["rev-parse", "--show-prefix"])?;
        project.root = root.into();
        project
            .git(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])
            .context("the repository of the project has no commit yet: commit it first")?;
        Ok(project)
    }

    /// Refuses changes that are not committed: the update would mix with them. Outside of the project, but in
    /// its repository, it would discard them.
    pub(crate) fn ensure_clean(&self) -> Result<()> {
        for options in [&["--", "."][..], &["--untracked-files=no"]] {
            let changes = self.git(&[&["status", "--porcelain"], options].concat())?;
            let first: Vec<_> = changes.lines().take(5).collect();
            ensure!(
                changes.is_empty(),
                "{} has changes that are not committed. Commit or stash them first:\n{}",
                self.root.display(),
                first.join("\n")
            );
        }
        Ok(())
    }

    /// The current branch, or the commit of a detached head: for `git checkout`.
    pub(crate) fn branch_name(&self) -> Result<String> {
        let name = self.git(&["rev-parse", "--abbrev-ref", "HEAD"])?;
        if name == "HEAD" {
            self.git(&["rev-parse", "HEAD"])
        } else {
            Ok(name)
        }
    }

    /// The content of a file of the project, as it is committed.
    pub(crate) fn committed(&self, path: &str) -> Option<Vec<u8>> {
        let object = format!("HEAD:{}{path}", self.prefix);
        let output = self.command(&["cat-file", "blob", &object]).output().ok()?;
        output.status.success().then_some(output.stdout)
    }

    /// The files of the project, as they are committed, by their paths in it.
    pub(crate) fn committed_files(&self) -> Result<BTreeSet<PathBuf>> {
        let listed = self.git(&["ls-tree", "-r", "-z", "--name-only", "HEAD", "--", "."])?;
        Ok(listed.split_terminator('\0').map(PathBuf::from).collect())
    }

    /// The tree of the repository in which the project is replaced by the files of a directory.
    fn tree_with(&self, files: &Path) -> Result<String> {
        let index = tempfile::tempdir()?;
        // Bytes as they are: the conversion of line ends is the owner's.
        let exact = ["-c", "core.autocrlf=false", "-c", "core.safecrlf=false"];
        let add = [&exact[..], &["add", "--all", "--force", "."]].concat();
        let mut add = self.with_index(&index, &add);
        add.env("GIT_DIR", self.git_directory()?);
        succeed(add.env("GIT_WORK_TREE", files).current_dir(files))?;
        let subtree = succeed(&mut self.with_index(&index, &["write-tree"]))?;
        if self.prefix.is_empty() {
            return Ok(subtree);
        }
        let index = tempfile::tempdir()?;
        let remove = ["rm", "-r", "--cached", "--quiet", "--ignore-unmatch"];
        let prefix = format!("--prefix={}", self.prefix);
        for step in [
            &["read-tree", "HEAD"][..],
            &[&remove[..], &["--", "."]].concat(),
            &["read-tree", &prefix, &subtree],
        ] {
            succeed(&mut self.with_index(&index, step))?;
        }
        succeed(&mut self.with_index(&index, &["write-tree"]))
    }

    /// Merges the changes from `old` to `new`, two directories of files, into the project.
    pub(crate) fn merge(&self, old: &Path, new: &Path) -> Result<Merged> {
        let [old, new] = [old, new].map(|files| {
            let tree = self.tree_with(files)?;
            self.commit(&tree, &[], "template")
        });
        let (old, new) = (old?, new?);
        let base = format!("--merge-base={old}");
        // The name that conflict markers show.
        let (reference, label) = ("refs/mainstay/template", "mainstay/template");
        self.git(&["update-ref", reference, &new])?;
        // A directory that the owner has moved does not take new files of the template along.
        let mut merge = self.command(&["-c", "merge.directoryRenames=false", "merge-tree"]);
        merge.args(["--write-tree", "-z", "--no-messages", &base, "HEAD", label]);
        // Elsewhere, git reports paths relative to the directory.
        let output = merge.current_dir(&self.root).output();
        let output = output.context("git cannot be run");
        self.git(&["update-ref", "-d", reference])?;
        let output = output?;
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "git cannot merge (it must be 2.40 or newer): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let text = String::from_utf8(output.stdout)?;
        let mut parts = text.split_terminator('\0');
        let tree = parts.next().context("git reports no tree")?.to_owned();
        let mut conflicts: Vec<Conflict> = Vec::new();
        for line in parts {
            let (entry, path) = line.split_once('\t').context("git reports no path")?;
            let [mode, object, stage] = entry.split(' ').collect::<Vec<_>>()[..] else {
                continue;
            };
            let version = (mode.to_owned(), object.to_owned(), stage.parse()?);
            match conflicts.last_mut() {
                Some(last) if last.path == path => last.versions.push(version),
                _ => conflicts.push(Conflict {
                    path: path.to_owned(),
                    versions: vec![version],
                }),
            }
        }
        Ok(Merged { tree, conflicts })
    }

    /// The path in the project of a path in the repository.
    pub(crate) fn within<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(&*self.prefix).unwrap_or(path)
    }

    /// The path in the repository of a path in the project.
    pub(crate) fn in_repository(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// A tree in which files of the repository have other versions: mode and object, or none.
    pub(crate) fn tree_changed(
        &self,
        tree: &str,
        changes: &[(String, Option<(String, String)>)],
    ) -> Result<String> {
        let index = tempfile::tempdir()?;
        succeed(&mut self.with_index(&index, &["read-tree", tree]))?;
        let lines = changes.iter().map(|(path, version)| match version {
            Some((mode, object)) => format!("{mode} {object}\t{path}\0"),
            None => format!("0 {NO_OBJECT}\t{path}\0"),
        });
        let mut update = self.with_index(&index, &UPDATE_INDEX);
        feed(&mut update, lines.collect::<String>().as_bytes())?;
        succeed(&mut self.with_index(&index, &["write-tree"]))
    }

    /// Stores a file, and returns its object.
    pub(crate) fn store(&self, content: &[u8]) -> Result<String> {
        feed(
            &mut self.command(&["hash-object", "-w", "--stdin"]),
            content,
        )
    }

    /// The project of a tree, in a temporary copy of the repository's files.
    pub(crate) fn copy_of(&self, tree: &str) -> Result<(TempDir, PathBuf)> {
        let index = tempfile::tempdir()?;
        let copy = tempfile::tempdir()?;
        succeed(&mut self.with_index(&index, &["read-tree", tree]))?;
        let prefix = format!("--prefix={}/", copy.path().display());
        let checkout = ["checkout-index", "--all", "--quiet", &prefix];
        let mut checkout = self.with_index(&index, &checkout);
        succeed(checkout.current_dir(&self.root))?;
        let project = copy.path().join(&self.prefix);
        Ok((copy, project))
    }

    /// The changed files of the project between its commit and a tree, as `git diff --name-status` lists
    /// them.
    pub(crate) fn changes(&self, tree: &str) -> Result<Vec<(char, String)>> {
        let diff = ["diff-tree", "-r", "-z", "--no-renames", "--name-status"];
        let listed = self.git(&[&diff[..], &["--relative", "HEAD", tree]].concat())?;
        let mut parts = listed.split_terminator('\0');
        let mut changes = Vec::new();
        while let (Some(kind), Some(path)) = (parts.next(), parts.next()) {
            changes.push((kind.chars().next().unwrap_or('M'), path.to_owned()));
        }
        Ok(changes)
    }

    /// Commits a tree, and returns the commit. No branch changes.
    pub(crate) fn commit(&self, tree: &str, parents: &[&str], message: &str) -> Result<String> {
        let mut commit = self.command(&commit_options(&self.directory));
        commit.args(["commit-tree", tree, "-m", message]);
        commit.args(parents.iter().flat_map(|parent| ["-p", parent]));
        succeed(&mut commit)
    }

    /// Creates a branch, or fails if there is one of that name.
    pub(crate) fn branch(&self, name: &str, commit: &str) -> Result<()> {
        let reference = format!("refs/heads/{name}");
        self.git(&["update-ref", &reference, commit, NO_OBJECT])
            .map(drop)
    }

    pub(crate) fn has_branch(&self, name: &str) -> bool {
        let reference = format!("refs/heads/{name}");
        self.git(&["rev-parse", "--verify", "--quiet", &reference])
            .is_ok()
    }

    /// Puts a merge into the working tree and the index: on a new branch, if it has one.
    ///
    /// The step is recorded first: if it is interrupted, the next update [completes](Self::complete) it.
    pub(crate) fn check_out(&self, pending: &Pending) -> Result<()> {
        pending.save(&self.git_directory()?)?;
        self.apply(pending)
    }

    /// Completes a step that was interrupted. False if there is none.
    pub(crate) fn complete(&self) -> Result<bool> {
        let git_directory = self.git_directory()?;
        let Some(pending) = Pending::load(&git_directory)? else {
            return Ok(false);
        };
        if self.git(&["rev-parse", "HEAD"])? != pending.head {
            // The owner has gone on without it.
            Pending::remove(&git_directory)?;
            return Ok(false);
        }
        // What differs from the commit is the beginning of a new file, unless the owner has edited it since.
        let changed = self.git(&["diff", "--name-only", "--no-relative", "-z", "HEAD"])?;
        let is_edited = |file: &&str| {
            let object = format!("{}:{file}", pending.tree);
            let new = self.command(&["cat-file", "blob", &object]).output();
            let found = fs::read(self.root.join(file)).unwrap_or_default();
            !new.is_ok_and(|new| new.stdout.starts_with(&found))
        };
        let edited = changed.split_terminator('\0').find(is_edited);
        ensure!(
            edited.is_none(),
            "an update was interrupted, and {} was edited since. Stash or discard the changes, and run it again",
            edited.unwrap_or_default()
        );
        // Left behind by the git that was interrupted.
        _ = fs::remove_file(git_directory.join("index.lock"));
        self.apply(&pending)?;
        Ok(true)
    }

    /// Carries out a recorded step, from its beginning.
    fn apply(&self, pending: &Pending) -> Result<()> {
        let git_directory = self.git_directory()?;
        if let Some(branch) = &pending.branch {
            if !self.has_branch(branch) {
                self.branch(branch, &self.git(&["rev-parse", "HEAD"])?)?;
            }
            let reference = format!("refs/heads/{branch}");
            self.git(&["symbolic-ref", "HEAD", &reference])?;
        }
        let mut read = self.command(&["read-tree", "--reset", "-u", &pending.tree]);
        succeed(read.current_dir(&self.root)).context("the working tree cannot be written")?;
        let mut lines = Vec::new();
        for Conflict { path, versions } in &pending.conflicts {
            write!(lines, "0 {NO_OBJECT}\t{path}\0")?;
            for (mode, object, stage) in versions {
                write!(lines, "{mode} {object} {stage}\t{path}\0")?;
            }
        }
        feed(&mut self.command(&UPDATE_INDEX), &lines)?;
        fs::write(git_directory.join("MERGE_MSG"), &pending.message)?;
        Pending::remove(&git_directory)
    }

    fn git_directory(&self) -> Result<PathBuf> {
        Ok(self.git(&["rev-parse", "--absolute-git-dir"])?.into())
    }

    /// Runs git in the project, and returns its output without the last line end.
    pub(crate) fn git(&self, arguments: &[&str]) -> Result<String> {
        git(&self.directory, arguments)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(&self.directory);
        git
    }

    /// git with a temporary index: the project's own one stays as it is.
    fn with_index(&self, index: &TempDir, arguments: &[&str]) -> Command {
        let mut git = self.command(arguments);
        git.env("GIT_INDEX_FILE", index.path().join("index"));
        git
    }
}

/// Runs a command with this input.
fn feed(command: &mut Command, input: &[u8]) -> Result<String> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input)?;
    file.rewind()?;
    succeed(command.stdin(file))
}
