//! The template as `cargo-generate.toml` describes it: its questions, and the files of each answer.
//!
//! What the scripts in `template/hooks` do for cargo-generate is done here again; their lists are read
//! from them. A test of the package `updater` compares the projects of both, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use toml_edit::{Array, DocumentMut, Item, TableLike};

use crate::generate::Answers;
use crate::liquid::{self, Value, Values};
use crate::repository::template_files;

/// The template in a checkout of its repository.
pub(crate) struct Template {
    repository: PathBuf,
    config: DocumentMut,
    /// The files with tags, and the directories of such files.
    with_tags: Vec<String>,
}

impl Template {
    pub(crate) fn open(repository: &Path) -> Result<Self> {
        let config = fs::read_to_string(repository.join("cargo-generate.toml"));
        let config = config.context("the template has no cargo-generate.toml")?;
        let config: DocumentMut = config.parse().context("cargo-generate.toml")?;
        let patterns = texts(config["template"].get("include")).into_iter();
        // Of the patterns, `/FILE` and `/DIRECTORY/**` are supported.
        let paths = patterns
            .filter_map(|it| Some(it.strip_prefix('/')?.trim_end_matches("/**").to_owned()));
        Ok(Self {
            repository: repository.to_owned(),
            with_tags: paths.collect(),
            config,
        })
    }

    /// Refuses a name that cargo, or the code to come, could not live with: `hooks/name.rhai`.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let crate_name = name.to_lowercase().replace(['-', ' '], "_");
        let is_in = |list: &str| -> Result<bool> {
            let words = self.words("taken.rhai", &format!("const {list} = ["))?;
            Ok(words.contains(&crate_name))
        };
        let is_usable = |it: char| it.is_ascii_alphanumeric() || "-_ ".contains(it);
        let why = if name.is_empty() {
            "it is empty"
        } else if name.chars().count() > 63 {
            "it is longer than 63 characters, which is what DNS, Kubernetes and Postgres allow"
        } else if !name.starts_with(|it: char| it.is_ascii_alphabetic()) {
            "it must begin with an ASCII letter"
        } else if !name.chars().all(is_usable) {
            "only ASCII letters, digits, - and _ can be in it"
        } else if is_in("KEYWORDS")? {
            "it is a word of the Rust language"
        } else if is_in("BUILT_IN")? {
            "a crate of that name comes with Rust"
        } else if is_in("CARGO")? {
            "cargo keeps a directory of that name for itself"
        } else if is_in("DEPENDENCIES")? {
            "the service depends on a crate of that name"
        } else {
            return Ok(());
        };
        bail!("The project cannot be called \"{name}\": {why}. Choose another one.")
    }

    /// The answers, or the defaults, as variables of tags.
    pub(crate) fn answers(&self, answers: &Answers) -> Result<Values> {
        let mut values = Values::new();
        for (question, placeholder) in self.table("placeholders") {
            let given = match question {
                "database" => &answers.database,
                "example" => &answers.example,
                "deploy" => &answers.deploy,
                "mainstay" => &answers.mainstay,
                _ => &None,
            };
            let is_list = placeholder.get("type").and_then(Item::as_str) == Some("array");
            let chosen: Vec<_> = match given {
                Some(given) if is_list => {
                    let given = given.split(',').map(|it| it.trim().to_owned());
                    given.filter(|it| !it.is_empty()).collect()
                }
                Some(given) => vec![given.clone()],
                None => texts(placeholder.get("default")),
            };
            let choices = texts(placeholder.get("choices"));
            for answer in &chosen {
                ensure!(
                    choices.is_empty() || choices.contains(answer),
                    "\"{answer}\" is no answer to `{question}`. Choose from {}.",
                    choices.join(", ")
                );
            }
            let value = if is_list {
                Value::List(chosen)
            } else {
                Value::Text(chosen.concat())
            };
            values.insert(question.to_owned(), value);
        }
        Ok(values)
    }

    /// The files of a project, and the template's file for each: `hooks/files.rhai`, and the lists `ignore`.
    pub(crate) fn files(&self, values: &Values) -> Result<BTreeMap<String, PathBuf>> {
        let mut files = Files::default();
        for file in template_files(&self.repository)? {
            if let Some(path) = file.strip_prefix("template/") {
                files.0.insert(path.to_owned(), self.repository.join(&file));
            }
        }
        let with_suffix: Vec<_> = files.0.keys().cloned().collect();
        for file in with_suffix {
            if let Some(replaced) = file.strip_suffix(".liquid") {
                files.rename(&file, replaced);
            }
        }
        let is = |condition: &str| liquid::holds(condition, values);
        if is("is_member")? {
            // The workspace has a lock of its own.
            files.delete("Cargo.lock");
            files.delete(".dockerignore");
        } else {
            files.delete("Dockerfile.dockerignore");
        }
        if is("example == \"monitor\"")? {
            for name in self.words("files.rhai", "for name in [")? {
                files.delete(&name);
                files.rename(&format!("monitor/{name}"), &name);
            }
        }
        files.delete("monitor");
        files.delete("hooks");
        if let Some(Value::Text(name)) = values.get("project-name") {
            let unit = format!("deploy/systemd/{name}.service");
            files.rename("deploy/systemd/beacon.service", &unit);
        }
        let mut ignored = texts(self.config["template"].get("ignore"));
        for (condition, section) in self.table("conditional") {
            if holds(condition, values)? {
                ignored.extend(texts(section.get("ignore")));
            }
        }
        for path in ignored {
            files.delete(&path);
        }
        Ok(files.0)
    }

    /// Whether a file has tags.
    pub(crate) fn has_tags(&self, file: &str) -> bool {
        self.with_tags.iter().any(|path| is_in(file, path))
    }

    fn table(&self, name: &str) -> impl Iterator<Item = (&str, &dyn TableLike)> {
        let table = self.config.get(name).and_then(Item::as_table);
        let entries = table.into_iter().flat_map(|table| table.iter());
        entries.filter_map(|(key, item)| Some((key, item.as_table_like()?)))
    }

    /// The words of a list in a hook.
    fn words(&self, hook: &str, start: &str) -> Result<Vec<String>> {
        let path = self.repository.join("template/hooks").join(hook);
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("{} cannot be read", path.display()))?;
        let list = text
            .split_once(start)
            .and_then(|(_, it)| it.split_once(']'));
        let (list, _) = list.with_context(|| format!("hooks/{hook} has no list `{start}`"))?;
        let words = list.split('"').skip(1).step_by(2);
        Ok(words.map(str::to_owned).collect())
    }
}

/// Files by their paths in the project, with their paths in the template.
#[derive(Default)]
struct Files(BTreeMap<String, PathBuf>);

impl Files {
    /// Deletes a file or a directory, if it is there.
    fn delete(&mut self, path: &str) {
        self.0.retain(|file, _| !is_in(file, path));
    }

    /// Renames a file or a directory, if it is there.
    fn rename(&mut self, from: &str, to: &str) {
        let renamed: Vec<_> = self.0.extract_if(.., |file, _| is_in(file, from)).collect();
        for (file, source) in renamed {
            self.0
                .insert(format!("{to}{}", &file[from.len()..]), source);
        }
    }
}

/// Whether a file is this path, or below it.
fn is_in(file: &str, path: &str) -> bool {
    let rest = file.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether an expression of a `[conditional]` is true: `a == "b"`, `a != "b"` or `a.contains("b")`, or
/// several of these with `!` and `&&`.
fn holds(expression: &str, values: &Values) -> Result<bool> {
    let mut all = true;
    for term in expression.split("&&") {
        let liquid = term.trim().replace(".contains(", " contains ");
        let liquid = liquid.trim_end_matches(')').replace("!=", "==");
        let is_negated = term.contains('!');
        let holds = liquid::holds(liquid.trim_start_matches('!'), values);
        all &= holds.with_context(|| format!("[conditional.'{expression}']"))? != is_negated;
    }
    Ok(all)
}

/// A text, or the texts of a list.
fn texts(item: Option<&Item>) -> Vec<String> {
    let list = item
        .and_then(Item::as_array)
        .into_iter()
        .flat_map(Array::iter);
    let list = list.filter_map(|text| text.as_str());
    let one = item.and_then(Item::as_str);
    one.into_iter().chain(list).map(str::to_owned).collect()
}
