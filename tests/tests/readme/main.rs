//! The pages of this repository are correct.

mod claims;
mod like;
mod own_code;
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

/// A directory of projects that stays between runs, so that cargo can reuse its build. Another
/// process waits until the lock is dropped.
fn home(name: &str) -> (PathBuf, fs::File) {
    let home = repository::projects().join(name);
    fs::create_dir_all(&home).expect("the directory of projects is writable");
    let lock = fs::File::create(home.join("lock")).expect("a lock file");
    lock.lock().expect("file locks work here");
    (home, lock)
}

/// Every page of documentation, by its path from the root.
fn pages() -> Vec<PathBuf> {
    let docs = files(&repository::root().join("docs")).into_iter();
    let docs = docs.map(|page| PathBuf::from("docs").join(page));
    let pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(PathBuf::from);
    pages.into_iter().chain(docs).collect()
}
