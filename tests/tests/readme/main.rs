//! The pages of this repository are correct.

mod claims;
mod like;
mod patterns;
mod plain;
mod terminal;
mod transcript;
mod tutorial;

use std::fs;
use std::path::PathBuf;

use harness::repository;
use harness::variant::files;

fn readme() -> String {
    fs::read_to_string(repository::root().join("README.md")).expect("there is a README")
}

/// Every page of documentation, by its path from the root.
fn pages() -> Vec<PathBuf> {
    let root = repository::root();
    let mut pages: Vec<_> = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"]
        .map(PathBuf::from)
        .to_vec();
    pages.extend(
        files(&root.join("docs"))
            .iter()
            .map(|page| PathBuf::from("docs").join(page)),
    );
    pages
}
