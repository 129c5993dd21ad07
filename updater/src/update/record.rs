//! `.template.toml`: what a project was generated from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use toml_edit::{DocumentMut, Item};

use crate::generate::Answers;
use crate::repository;

/// The name of the file in a project.
pub(crate) const FILE: &str = ".template.toml";

const DEPLOYMENTS: [(&str, &str); 4] = [
    ("docker", "Dockerfile"),
    ("kubernetes", "deploy/kubernetes"),
    ("systemd", "deploy/systemd"),
    ("github", ".github/workflows"),
];

/// What a project was generated from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) answers: Answers,
    /// The version of the template.
    pub(crate) version: String,
    /// The commit of the template, without the suffix `-dirty`. `None` if it was not recorded.
    pub(crate) commit: Option<String>,
    /// The URL of the template, if it has one.
    pub(crate) source: Option<String>,
    /// The checksum of `mainstay/` as it was generated.
    pub(crate) checksum: Option<String>,
    /// Whether the template had changes that its commit does not have.
    pub(crate) is_dirty: bool,
}

impl Record {
    /// Reads the record of a project. `None` if there is no file.
    pub(crate) fn read(project: &Path) -> Result<Option<Self>> {
        let path = project.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path)?;
        let record = Self::parse(&text);
        record
            .map(Some)
            .with_context(|| format!("{} cannot be used", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let document: DocumentMut = text.parse()?;
        let value = |section: &str, key: &str| {
            let item = document.get(section).and_then(|table| table.get(key));
            item.and_then(Item::as_str).map(str::to_owned)
        };
        let required = |section: &str, key: &str| {
            value(section, key).with_context(|| format!("[{section}] has no text `{key}`"))
        };
        let deploy = document.get("answers").and_then(|it| it.get("deploy"));
        let deploy = deploy.and_then(Item::as_array).map(|choices| {
            let choices = choices.iter().filter_map(|choice| choice.as_str());
            choices.collect::<Vec<_>>().join(",")
        });
        let commit = value("template", "commit").filter(|commit| commit != "unknown");
        let is_dirty = commit.as_ref().is_some_and(|it| it.ends_with("-dirty"));
        Ok(Self {
            name: required("answers", "project-name")?,
            answers: Answers {
                database: Some(required("answers", "database")?),
                example: Some(required("answers", "example")?),
                deploy: Some(deploy.context("[answers] has no list `deploy`")?),
                // Earlier versions had no such question.
                mainstay: value("answers", "mainstay"),
            },
            version: required("template", "version")?,
            commit: commit.map(|commit| commit.trim_end_matches("-dirty").to_owned()),
            source: value("template", "source").filter(|url| repository::is_url(url)),
            checksum: value("template", "checksum"),
            is_dirty,
        })
    }

    /// The record of a project that has lost its own, from the files that it has.
    pub(crate) fn guessed(project: &Path) -> Result<Self> {
        let manifest = fs::read_to_string(project.join("Cargo.toml"));
        let manifest = manifest.with_context(|| format!("{} is no project", project.display()))?;
        let manifest: DocumentMut = manifest.parse().context("Cargo.toml is not TOML")?;
        let name = manifest
            .get("package")
            .and_then(|it| it.get("name")?.as_str());
        let name = name.context("Cargo.toml names no package")?;
        let is_there = |path: &str| project.join(path).exists();
        let databases = ["migrations/sqlite", "migrations/postgres"].map(is_there);
        let database = match databases.into() {
            (true, false) => "sqlite",
            (false, true) => "postgres",
            _ => bail!("migrations/ does not say whether the database is SQLite or Postgres"),
        };
        let is_monitor = is_there("src/checks/mod.rs") || is_there("src/monitor/mod.rs");
        let deploy = DEPLOYMENTS.iter().filter(|(_, path)| is_there(path));
        let deploy: Vec<_> = deploy.map(|(choice, _)| *choice).collect();
        let shared = manifest.get("dependencies");
        let shared = shared.and_then(|it| it.get("mainstay")?.get("path")?.as_str());
        Ok(Self {
            name: name.to_owned(),
            answers: Answers {
                database: Some(database.to_owned()),
                example: Some(if is_monitor { "monitor" } else { "hello" }.to_owned()),
                deploy: Some(deploy.join(",")),
                mainstay: Some(shared.unwrap_or("mainstay").to_owned()),
            },
            version: "unknown".to_owned(),
            commit: None,
            source: None,
            checksum: None,
            is_dirty: false,
        })
    }
}

/// Refuses an answer that the template does not offer.
pub(crate) fn check_deploy(choices: &str) -> Result<()> {
    let known = DEPLOYMENTS.map(|(known, _)| known);
    let choices = choices.split(',').map(str::trim);
    for choice in choices.filter(|it| !it.is_empty()) {
        ensure!(
            known.contains(&choice),
            "`--deploy {choice}`: choose from {}",
            known.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"
        [template]
        version = "0.1.0"
        source = "mainstay"
        commit = "0123abc-dirty"
        checksum = "42"

        [answers]
        project-name = "lookout"
        database = "sqlite"
        example = "hello"
        deploy = ["docker", "github"]
        mainstay = "../other/mainstay"
    "#;

    #[test]
    fn record_has_answers_and_commit() {
        let record = Record::parse(RECORD).unwrap();
        assert_eq!(record.commit.as_deref(), Some("0123abc"));
        assert!(record.is_dirty);
        assert_eq!(record.source, None, "a name is no URL");
        let of_git = RECORD.replace("\"mainstay\"", "\"git@host:mainstay\"");
        let source = Record::parse(&of_git).unwrap().source;
        assert_eq!(source.as_deref(), Some("git@host:mainstay"));
        assert_eq!(record.answers.deploy.as_deref(), Some("docker,github"));
    }

    #[test]
    fn edited_record_is_refused_by_its_key() {
        for (line, message) in [
            ("database = \"sqlite\"", "[answers] has no text `database`"),
            (
                "deploy = [\"docker\", \"github\"]",
                "[answers] has no list `deploy`",
            ),
            ("version = \"0.1.0\"", "[template] has no text `version`"),
        ] {
            let error = Record::parse(&RECORD.replace(line, "")).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
