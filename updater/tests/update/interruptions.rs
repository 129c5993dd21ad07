//! An update that is killed leaves the project as it was, or is completed by the next one.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::world::{git, text};
use crate::{BRANCH, CONFLICTS, conflicting, is_conflicted};

#[test]
fn interrupted_update_is_completed_by_the_next_one() {
    let world = conflicting();
    let repository = world.repository();
    let pending = repository.join(".git/mainstay-update.json");
    let branch = || git(&repository, &["branch", "--show-current"]);
    let mut outcomes = [0, 0];
    let mut is_over = false;
    for pause in (0..).map(|step| Duration::from_millis(100 + 150 * step)) {
        let mut update = world.command(&[]);
        update.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = update.spawn().unwrap();
        thread::sleep(pause);
        is_over |= child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        let is_changed = pending.exists() || branch() != "main\n";
        if !is_changed {
            assert_eq!(git(&repository, &["status", "--porcelain"]), "");
        }
        outcomes[usize::from(is_changed)] += 1;

        // Refuses to run if the first one was complete.
        let output = world.update(&[]);

        let code = output.status.code();
        assert!(is_over || code == CONFLICTS, "{}", text(&output.stderr));
        is_conflicted(&world);
        if is_over {
            break;
        }
        git(&repository, &["switch", "--quiet", "--force", "main"]);
        git(&repository, &["branch", "--quiet", "-D", BRANCH]);
    }
    println!("interrupted before and after the first change: {outcomes:?}");
    assert!(outcomes[0] > 0, "{outcomes:?}");
}

#[test]
fn step_that_was_begun_is_completed() {
    let world = conflicting();
    world.update(&[]);
    let git_directory = world.repository().join(".git");
    // As if it had been killed between the record and the first file.
    let tree = {
        git(&world.repository(), &["add", "--all"]);
        git(&world.repository(), &["write-tree"])
    };
    git(&world.repository(), &["reset", "--quiet", "--hard"]);
    git(&world.repository(), &["switch", "--quiet", "main"]);
    let pending = format!(
        r#"{{"branch":"{BRANCH}","tree":"{}","conflicts":[],"message":"m"}}"#,
        tree.trim()
    );
    fs::write(git_directory.join("mainstay-update.json"), pending).unwrap();
    fs::write(git_directory.join("index.lock"), "").unwrap();

    let output = world.update(&[]);

    assert!(
        text(&output.stdout).contains("is complete now"),
        "{}",
        text(&output.stderr)
    );
    assert!(!git_directory.join("mainstay-update.json").exists());
    assert_eq!(git(&world.repository(), &["write-tree"]), tree);
    assert_eq!(
        git(&world.repository(), &["branch", "--show-current"]),
        format!("{BRANCH}\n")
    );
}
