//! The other shapes of `app.rs` in docs/compose.md. Each one is a diff below a heading.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use crate::{overlay, repository};

/// The dependencies that a shape adds to `Cargo.toml`, by its heading.
const DEPENDENCIES: [(&str, &str); 2] = [
    (
        "Two databases",
        "[dependencies.mainstay]\nfeatures = [\"postgres\"]\n",
    ),
    (
        "A server that speaks another protocol",
        "[dependencies]\nfutures-util = { version = \"0.3\", default-features = false }\n\
         tokio = { version = \"1\", features = [\"io-util\", \"net\", \"rt\", \"time\"] }\n\
         tokio-util = { version = \"0.7\", features = [\"rt\"] }\n",
    ),
];

/// Applies the page's diff to `src/app.rs` of a project. It may change no other code.
pub(super) fn put(heading: &str, project: &Path) -> Result<()> {
    let page = fs::read_to_string(repository::root().join("docs/compose.md"))?;
    let diff = diff_below(heading, &page)
        .with_context(|| format!("docs/compose.md has no diff below {heading:?}"))?;
    let changed = diff.lines().filter_map(|line| line.strip_prefix("+++ b/"));
    ensure!(
        changed.eq(["src/app.rs"]),
        "the diff below {heading:?} changes more than src/app.rs"
    );
    let file = NamedTempFile::new()?;
    fs::write(&file, diff)?;
    overlay::apply(file.path(), project)?;
    for (_, dependencies) in DEPENDENCIES.iter().filter(|(whose, _)| *whose == heading) {
        overlay::merge_into(&project.join("Cargo.toml"), toml::from_str(dependencies)?)?;
    }
    Ok(())
}

/// The first diff below a heading of the page.
fn diff_below<'a>(heading: &str, page: &'a str) -> Option<&'a str> {
    let (_, section) = page.split_once(&format!("## {heading}\n"))?;
    let (_, diff) = section.split_once("```diff\n")?;
    Some(diff.split_once("```")?.0)
}
