//! Generation: creates a project from the template and a set of answers, as `cargo generate` does.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use heck::{ToKebabCase, ToSnakeCase};

use crate::liquid::{self, Value};
use crate::template::Template;
use crate::workspace::Workspace;
use crate::{checksum, repository};

/// The answers to the questions of `cargo generate`. `None` means the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Answers {
    pub database: Option<String>,
    pub example: Option<String>,
    /// Separated by commas; empty for no files.
    pub deploy: Option<String>,
    /// The path of the machinery, relative to the project.
    pub mainstay: Option<String>,
}

/// Normalizes a name for the project and its directory.
pub fn project_name(name: &str) -> String {
    let name_in_snake_case = name.to_snake_case();
    if name_in_snake_case == name {
        name_in_snake_case
    } else {
        name.to_kebab_case()
    }
}

/// Generates the project `name` in a new directory below this one, and returns its directory.
///
/// Nothing is written unless everything can be rendered.
pub fn generate(name: &str, answers: &Answers, directory: &Path) -> Result<PathBuf> {
    let repository = repository::root().canonicalize()?;
    let directory = directory
        .canonicalize()
        .map_err(|_| anyhow!("There is no directory {}.", directory.display()))?;
    ensure!(
        !directory.starts_with(&repository),
        "{} is inside the template's own repository. Choose another place.",
        directory.display()
    );
    let template = Template::open(&repository)?;
    // As it was typed, and as it will be used.
    template.check_name(name)?;
    let project = directory.join(project_name(name));
    ensure!(
        !project.exists(),
        "{} exists already. Choose another name, or another place with --into.",
        project.display()
    );
    template.check_name(&project_name(name))?;
    let mut values = template.answers(answers)?;
    let source = repository::origin(&repository).unwrap_or_else(|| "mainstay".to_owned());
    let commit = repository::commit(&repository).unwrap_or_else(|| "unknown".to_owned());
    // The variables of cargo-generate and of `hooks/files.rhai`.
    for (variable, text) in [
        ("project-name", project_name(name)),
        ("crate_name", name.to_snake_case()),
        ("nl", "\n".to_owned()),
        ("source", source),
        ("commit", commit),
        ("checksum", machinery_checksum(&repository)?),
    ] {
        values.insert(variable.to_owned(), Value::Text(text));
    }
    if let Some(Value::List(choices)) = values.get("deploy") {
        let list = Value::Text(format!("{choices:?}"));
        values.insert("deploy_list".to_owned(), list);
    }
    let is_member = Workspace::around(&project)?.is_some();
    values.insert("is_member".to_owned(), Value::Flag(is_member));

    let mut rendered = Vec::new();
    for (file, source) in template.files(&values)? {
        let text = if template.has_tags(&file) {
            let text = fs::read_to_string(&source)?;
            let text = liquid::render(&text, &values);
            Some(text.with_context(|| source.display().to_string())?)
        } else {
            None
        };
        rendered.push((project.join(file), source, text));
    }
    for (file, source, text) in rendered {
        fs::create_dir_all(file.parent().unwrap_or(&project))?;
        // Also for its permissions.
        fs::copy(source, &file)?;
        if let Some(text) = text {
            fs::write(file, text)?;
        }
    }
    sort_lock(&project, name)?;
    Ok(project)
}

/// The checksum of the machinery in the template, without files that git ignores.
pub fn machinery_checksum(repository: &Path) -> Result<String> {
    let machinery = "template/mainstay/";
    let files = repository::template_files(repository)?;
    let files = files.iter().filter_map(|file| file.strip_prefix(machinery));
    checksum::of_files(&repository.join(machinery), files.map(str::to_owned))
}

/// Sorts the project's own entry as cargo does. Otherwise the first build would change the lock
/// file.
pub fn sort_lock(project: &Path, name: &str) -> Result<()> {
    let path = project.join("Cargo.lock");
    let Ok(lock) = fs::read_to_string(&path) else {
        return Ok(());
    };
    let own = format!("[[package]]\nname = \"{}\"\n", project_name(name));
    let (mut blocks, own): (Vec<_>, Vec<_>) = lock
        .trim_end()
        .split("\n\n")
        .partition(|block| !block.starts_with(&own));
    let name_in = |block: &str| block.lines().nth(1).map(str::to_owned);
    for own in own {
        let packages = blocks.iter().skip(1);
        let before = packages.take_while(|block| name_in(block) < name_in(own));
        blocks.insert(1 + before.count(), own);
    }
    fs::write(&path, blocks.join("\n\n") + "\n")?;
    Ok(())
}
