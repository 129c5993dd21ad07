//! `cargo run -- update PATH`: merges a newer template, or other answers, into a project that its owner
//! has changed since.
//!
//! The template is rendered twice: as the project was generated, and as it is now. git merges the
//! difference into the project, with the first rendering as the base. The owner's lines stay; a line
//! that both sides have changed is a conflict, and is left to the owner.

mod lock;
mod pending;
mod project;
mod record;
mod rules;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use self::pending::Pending;
use self::project::{Merged, Project};
use self::record::Record;
use self::rules::Notes;
use self::template::Template;
use crate::generate::Answers;

/// The exit code of an update with conflicts.
const CONFLICTS: u8 = 3;

/// Merges a newer template, or other answers, into a project.
#[derive(Debug, clap::Args)]
pub struct Update {
    /// Directory of the project: clean, in a git repository
    project: PathBuf,
    /// Revision of the template to update to [default: this checkout as it is]
    #[arg(long, value_name = "REV")]
    to: Option<String>,
    /// Revision that the project was generated from, if it does not record one
    #[arg(long, value_name = "REV")]
    from: Option<String>,
    /// Checkout or URL of the template [default: this checkout]
    #[arg(long, value_name = "PLACE")]
    template: Option<String>,
    /// New answer: the database
    #[arg(long, value_parser = ["sqlite", "postgres"])]
    database: Option<String>,
    /// New answer: deployment files, separated by commas: any of docker, kubernetes, systemd, github
    #[arg(long)]
    deploy: Option<String>,
    /// Change the work tree of the current branch, and commit nothing
    #[arg(long)]
    in_place: bool,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// An update, computed and not applied.
struct Plan {
    record: Record,
    /// The version that the project gets, and its commit.
    version: String,
    commit: String,
    merged: Merged,
    changes: Vec<(char, String)>,
    notes: Notes,
    /// The text of the new changelog entries.
    news: String,
}

impl Update {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode> {
        let project = Project::open(&self.project)?;
        if !self.dry_run && project.complete()? {
            println!("An update that was interrupted is complete now: git status shows it.");
            return Ok(ExitCode::from(CONFLICTS));
        }
        project.ensure_clean()?;
        let Some(plan) = self.plan(&project)? else {
            println!("{} is up to date.", project.directory.display());
            return Ok(ExitCode::SUCCESS);
        };
        plan.print(&project);
        if self.dry_run {
            println!("\nNothing was changed (--dry-run).");
        } else {
            self.apply(&project, &plan)?;
        }
        let is_open = !plan.merged.conflicts.is_empty() || !plan.notes.open.is_empty();
        Ok(ExitCode::from(if is_open { CONFLICTS } else { 0 }))
    }

    /// Computes the update. `None` if the project has the template's state already.
    fn plan(&self, project: &Project) -> Result<Option<Plan>> {
        let record = match Record::read(&project.directory)? {
            Some(record) => record,
            None if self.from.is_some() => Record::guessed(&project.directory)?,
            None => bail!(
                "{} has no .template.toml, which says what it was generated from. Give the revision of the \
                 template with --from REV",
                project.directory.display()
            ),
        };
        if let Some(choices) = &self.deploy {
            record::check_deploy(choices)?;
        }
        let example = record.answers.example.clone();
        let answers = Answers {
            // The name in the template's first versions.
            example: example.map(|it| if it == "none" { "hello".to_owned() } else { it }),
            database: self.database.clone().or(record.answers.database.clone()),
            deploy: self.deploy.clone().or(record.answers.deploy.clone()),
            ..record.answers.clone()
        };
        let here = crate::repository::root().display().to_string();
        let template = Template::open(self.template.as_deref().unwrap_or(&here))?;
        let (other, from) = self.origin(&template, &record)?;
        let origin = other.as_ref().unwrap_or(&template);
        let to = self.to.as_ref().map(|revision| {
            let commit = template.commit(revision);
            commit.with_context(|| format!("--to {revision}: the template has no such commit"))
        });
        let to = to.transpose()?;
        let commit = to.clone().or_else(|| template.checkout());
        let commit = commit.unwrap_or_else(|| "unknown".to_owned());
        if commit == from && answers == record.answers && !record.is_dirty {
            return Ok(None);
        }
        ensure!(
            to.is_some() || commit == from || !template.is_ancestor(&commit, &from),
            "the project has a newer template than this checkout. Pull, or name the revision with --to REV"
        );
        let manifest = fs::read_to_string(project.directory.join("Cargo.toml"));
        let manifest = manifest.context("the project has no Cargo.toml")?;
        let is_member = !manifest.lines().any(|line| line.trim() == "[workspace]");
        let old = origin.project(Some(&from), &record, &record.answers, is_member)?;
        let new = template.project(to.as_deref(), &record, &answers, is_member)?;

        let mut notes = Notes::default();
        if record.is_dirty {
            notes.kept.push(
                "the project was generated from changes that were not committed: they may conflict"
                    .to_owned(),
            );
        }
        let news = news(old.path(), new.path());
        let made = Record::read(new.path())?.context("the template makes no .template.toml")?;
        rules::adapt(project, &record, old.path(), new.path(), &mut notes)?;
        let merged = project.merge(old.path(), new.path())?;
        let merged = rules::resolve(project, merged, &mut notes)?;
        let merged = complete_lock(project, merged, &mut notes)?;
        let changes = project.changes(&merged.tree)?;
        if changes.is_empty() && merged.conflicts.is_empty() {
            return Ok(None);
        }
        Ok(Some(Plan {
            record,
            version: made.version,
            commit,
            merged,
            changes,
            notes,
            news,
        }))
    }

    /// The commit that the project was generated from, and the repository that has it, unless the template has it.
    fn origin(&self, template: &Template, record: &Record) -> Result<(Option<Template>, String)> {
        let revision = self.from.as_ref().or(record.commit.as_ref()).with_context(|| {
            "the project does not record the commit that it was generated from. Give it with --from REV"
        })?;
        if let Some(commit) = template.commit(revision) {
            return Ok((None, commit));
        }
        let here = crate::repository::root().display().to_string();
        let places = [Some(here), record.source.clone()];
        for place in places.into_iter().flatten() {
            match Template::open(&place) {
                Ok(origin) => {
                    if let Some(commit) = origin.commit(revision) {
                        return Ok((Some(origin), commit));
                    }
                }
                Err(error) => eprintln!("{error:#}"),
            }
        }
        bail!(
            "the template has no commit {revision}, from which the project was generated. \
             Fetch the template's history, or name a checkout that has it with --template PLACE"
        )
    }

    fn apply(&self, project: &Project, plan: &Plan) -> Result<()> {
        let message = format!(
            "Update to Mainstay {} ({})",
            plan.version,
            short(&plan.commit)
        );
        let Merged { tree, conflicts } = &plan.merged;
        let before = project.branch_name()?;
        println!();
        let is_new = !self.in_place;
        let branch = is_new.then(|| free_branch(project, plan)).transpose()?;
        if let Some(branch) = &branch
            && conflicts.is_empty()
        {
            let commit = project.commit(tree, &["HEAD"], &message)?;
            project.branch(branch, &commit)?;
            println!(
                "The result is the branch {branch}; {before} is as it was. To look at it and to take it:\n\
                 \x20   git diff {before} {branch}\n\
                 \x20   git switch {branch} && cargo test && cargo run -- config check\n\
                 \x20   git checkout {before} && git merge {branch}"
            );
            if rules::needs_regeneration(&plan.changes) {
                println!(
                    "If a test says that openapi.json is out of date: UPDATE=1 cargo test openapi"
                );
            }
            return Ok(());
        }
        project.check_out(&Pending {
            head: project.git(&["rev-parse", "HEAD"])?,
            branch: branch.clone(),
            tree: tree.clone(),
            conflicts: conflicts.clone(),
            message,
        })?;
        match branch {
            None => println!("The result is in the work tree, and is not committed."),
            Some(branch) => println!(
                "You are on the new branch {branch}, with the conflicts. Resolve them (git mergetool), then git commit.\n\
                 To give up: git reset --hard && git checkout {before} && git branch -D {branch}"
            ),
        }
        Ok(())
    }
}

impl Plan {
    fn print(&self, project: &Project) {
        let Self { record, notes, .. } = self;
        let from = record.commit.as_deref().map_or("an unknown commit", short);
        println!(
            "Updating {} from Mainstay {} ({from}) to {} ({})",
            record.name,
            record.version,
            self.version,
            short(&self.commit)
        );
        let (machinery, own): (Vec<_>, Vec<_>) = self
            .changes
            .iter()
            .partition(|(_, path)| path.starts_with("mainstay/"));
        for (what, kind) in [("changed", 'M'), ("new", 'A'), ("removed", 'D')] {
            let files = own.iter().filter(|(of, _)| *of == kind);
            let files: Vec<_> = files.map(|(_, path)| path.as_str()).collect();
            if !files.is_empty() {
                println!("  {what}: {}", files.join(", "));
            }
        }
        if !machinery.is_empty() {
            println!("  mainstay/: {} files", machinery.len());
        }
        for note in &notes.kept {
            println!("  {note}");
        }
        if !self.news.is_empty() {
            println!("\nWhat is new:\n\n{}", self.news);
        }
        if !self.merged.conflicts.is_empty() {
            println!("\nConflicts:");
        }
        for conflict in &self.merged.conflicts {
            let path = project.within(&conflict.path);
            println!("  {path}: {}", rules::advice(path, conflict));
        }
        for note in &notes.open {
            println!("\n{note}");
        }
    }
}

/// The entries of the machinery's changelog that the older one does not have.
fn news(old: &Path, new: &Path) -> String {
    let read = |root: &Path| {
        let text = fs::read_to_string(root.join("mainstay/CHANGELOG.md"));
        text.unwrap_or_default()
    };
    let (old, new) = (read(old), read(new));
    let known: Vec<_> = old.lines().collect();
    let mut news: Vec<&str> = Vec::new();
    // A heading stays only if a new entry follows it. The title and the preface are no news.
    for line in new.lines().skip_while(|line| !line.starts_with("## ")) {
        let is_heading = line.starts_with('#');
        if !is_heading && (line.trim().is_empty() || known.contains(&line)) {
            continue;
        }
        let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
        while is_heading && news.last().is_some_and(|last| level(last) >= level(line)) {
            news.pop();
        }
        news.push(line);
    }
    while news.last().is_some_and(|line| line.starts_with('#')) {
        news.pop();
    }
    news.join("\n")
}

/// Lets cargo complete the lock of the merged project, outside of the project.
fn complete_lock(project: &Project, merged: Merged, notes: &mut Notes) -> Result<Merged> {
    if project.committed("Cargo.lock").is_none() {
        return Ok(merged);
    }
    let (_copy, directory) = project.copy_of(&merged.tree)?;
    if let Err(error) = lock::complete(&directory) {
        let error = format!("{error:#}");
        let last = error.lines().last().unwrap_or_default();
        notes.kept.push(format!(
            "Cargo.lock: cargo will complete it at the next build ({last})"
        ));
        return Ok(merged);
    }
    let lock = project.store(&fs::read(directory.join("Cargo.lock"))?)?;
    let path = project.in_repository("Cargo.lock");
    let changed = [(path, Some(("100644".to_owned(), lock)))];
    Ok(Merged {
        tree: project.tree_changed(&merged.tree, &changed)?,
        ..merged
    })
}

fn free_branch(project: &Project, plan: &Plan) -> Result<String> {
    let short = format!("mainstay-update-{}", plan.version);
    let long = format!("{short}-{}", self::short(&plan.commit));
    // Another project of the same repository may have the others.
    let own = format!("{long}-{}", plan.record.name);
    let free = [short.clone(), long, own]
        .into_iter()
        .find(|name| !project.has_branch(name));
    ensure!(
        free.is_some(),
        "The branch {short} exists already. Merge it, or delete it: git branch -D {short}"
    );
    Ok(free.unwrap_or(short))
}

fn short(commit: &str) -> &str {
    commit.get(..9).unwrap_or(commit)
}
