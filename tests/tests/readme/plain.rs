//! The `cargo generate` commands of the pages, executed by cargo-generate's own library.

use std::fs;
use std::path::Path;

use cargo_generate::{Cli, generate};
use clap::Parser;
use harness::{repository, tutorial};

use crate::readme;

#[test]
fn documented_cargo_generate_lines_work() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    follow(&readme(), directory.path());
    let record = directory.path().join("my-service/.template.toml");
    let record = fs::read_to_string(record).expect("the file exists");
    assert!(record.contains("source = \"mainstay\""), "{record}");

    follow(&tutorial::page(), directory.path());
    let greeting = directory.path().join("notebook/src/hello.rs");
    assert!(greeting.exists(), "the project is not `hello`");
}

fn follow(page: &str, directory: &Path) {
    let line = page
        .lines()
        .find(|line| line.starts_with("cargo generate "))
        .expect("the page has a `cargo generate` command");
    let root = repository::root().display().to_string();
    let words = line.split(' ').map(|word| match word {
        "." => root.clone(),
        ".." => directory.display().to_string(),
        word => word.to_owned(),
    });
    // There is no terminal to ask for answers.
    let Cli::Generate(arguments) = Cli::parse_from(words.chain(["--silent".to_owned()]));
    generate(arguments).expect("the line of the page generates");
}
