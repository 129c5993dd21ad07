//! The plain `cargo generate` line of the README, as cargo-generate itself understands it.

use cargo_generate::{Cli, generate};
use clap::Parser;
use keelson::repository;

use crate::readme;

#[test]
fn the_plain_line_generates_a_project() {
    let page = readme();
    let line = page
        .lines()
        .find(|line| line.starts_with("cargo generate "))
        .expect("there is one");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = repository::root().display().to_string();
    let words = line.split(' ').map(|word| match word {
        "." => root.clone(),
        ".." => directory.path().display().to_string(),
        word => word.to_owned(),
    });
    // Nobody is here to be asked.
    let Cli::Generate(arguments) = Cli::parse_from(words.chain(["--silent".to_owned()]));

    let project = generate(arguments).expect("the line of the README generates");

    assert_eq!(project, directory.path().join("my-service"));
    let record = std::fs::read_to_string(project.join(".template.toml")).expect("it is there");
    assert!(record.contains("source = \"keelson\""), "{record}");
}
