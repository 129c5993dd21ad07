//! An update that is killed leaves the project as it was, or is completed by the next one.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::world::{replace, text};
use crate::{BRANCH, CONFLICTS, conflicting, is_conflicted};

/// The time of an update has this many parts. One is killed after each part, and one at its first change.
const PARTS: u32 = 6;

#[test]
fn interrupted_update_is_completed_by_the_next_one() {
    let world = conflicting();
    let pending = world.repository().join(".git/mainstay-update.json");
    let began = Instant::now();
    world.ends_with(CONFLICTS, &[]);
    let part = began.elapsed() / PARTS;
    let interrupt = |is_time: &dyn Fn(Instant) -> bool| {
        world.git("switch --quiet --force main");
        world.git(&format!("branch --quiet -D {BRANCH}"));
        let mut update = world.command(&[]);
        update.stdout(Stdio::null()).stderr(Stdio::null());
        let (mut child, began) = (update.spawn().unwrap(), Instant::now());
        let mut is_over = false;
        while !is_over && !is_time(began) {
            thread::sleep(Duration::from_millis(1));
            is_over = child.try_wait().unwrap().is_some();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let is_changed = pending.exists() || world.git("branch --show-current") != "main";
        if !is_changed {
            assert_eq!(world.git("status --porcelain"), "");
        }

        // Refuses to run if the first one was complete.
        let output = world.update(&[]);

        let is_completed = output.status.code() == Some(CONFLICTS);
        assert!(is_over || is_completed, "{}", text(&output.stderr));
        is_conflicted(&world);
        is_changed
    };
    let unchanged =
        (1..PARTS).filter(|count| !interrupt(&|began| began.elapsed() >= part * *count));
    assert!(
        unchanged.count() > 0,
        "each was killed after its first change"
    );
    assert!(
        interrupt(&|_| pending.exists()),
        "the update left no record"
    );
}

#[test]
fn step_that_was_begun_is_completed() {
    let world = conflicting();
    world.update(&[]);
    let git_directory = world.repository().join(".git");
    // As if it had been killed between the record and the first file.
    world.git("add --all");
    let tree = world.git("write-tree");
    world.git("reset --quiet --hard");
    world.git("switch --quiet main");
    let head = world.git("rev-parse HEAD");
    let pending = format!(
        r#"{{"head":"{head}","branch":"{BRANCH}","tree":"{tree}","conflicts":[],"message":"m"}}"#
    );
    let record = git_directory.join("mainstay-update.json");
    fs::write(&record, pending).unwrap();
    fs::write(git_directory.join("index.lock"), "").unwrap();
    // The owner goes on in a file that the step writes.
    let hello = world.project().join("src/hello.rs");
    replace(&hello, "//! ", "//! Mine. ");
    world.refused(&[], &["src/hello.rs was edited since"]);
    replace(&hello, "//! Mine. ", "//! ");

    let said = world.ends_with(CONFLICTS, &[]);

    assert!(said.contains("is complete now"), "{said}");
    assert!(!record.exists());
    assert_eq!(world.git("write-tree"), tree);
    assert_eq!(world.git("branch --show-current"), BRANCH);
}
