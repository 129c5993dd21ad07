//! The steps of the tutorial.
//!
//! - A block of code is a new file. A block in `diff` is a change of a file. The preceding
//!   paragraph ends with the file's name. The old lines of a change must occur in the file exactly
//!   once.
//! - A block in `console` has commands, and their output.
//! - A block in `sh` changes the directory, or repeats the preceding step in another way.

use std::fs;
use std::path::Path;

use crate::repository;

pub fn page() -> String {
    fs::read_to_string(repository::root().join("docs/tutorial.md")).expect("there is a tutorial")
}

/// A step for the reader of a page.
#[derive(Debug)]
pub enum Step {
    Go(String),
    File {
        path: String,
        content: String,
    },
    Change {
        path: String,
        before: String,
        after: String,
    },
    /// A transcript.
    Commands(String),
    Interrupt,
}

/// The steps of a page, in order.
pub fn read(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut place = None;
    // The text between fences alternates: prose, code, prose, …
    let mut rest = page;
    while let Some((prose, more)) = rest.split_once("\n```") {
        let (code, more) = more.split_once("\n```\n").expect("a block has an end");
        let (kind, code) = code.split_once('\n').expect("a block has a line");
        if prose.contains("Ctrl-C") {
            steps.push(Step::Interrupt);
        }
        if !prose.trim().is_empty() {
            place = file_named_at_the_end_of(prose);
        }
        let path = || place.clone().expect("a file name precedes the block");
        let code = format!("{code}\n");
        match kind {
            "console" => steps.push(Step::Commands(code)),
            "sh" => {
                let to = code.trim().strip_prefix("cd ");
                steps.extend(to.map(|to| Step::Go(to.into())));
            }
            "diff" => steps.push(Step::Change {
                path: path(),
                before: side(&code, '-'),
                after: side(&code, '+'),
            }),
            _ => steps.push(Step::File {
                path: path(),
                content: code,
            }),
        }
        rest = more;
    }
    steps
}

/// `… a new file, `src/a.rs`:`
fn file_named_at_the_end_of(prose: &str) -> Option<String> {
    let (_, path) = prose.trim_end().strip_suffix("`:")?.rsplit_once('`')?;
    Some(path.to_owned())
}

/// The unchanged lines of a diff, and those with this mark.
fn side(change: &str, mark: char) -> String {
    let lines = change.split_inclusive('\n');
    let those = lines.filter_map(|line| match line.chars().next() {
        Some('\n') => Some(line),
        Some(first) if first == ' ' || first == mark => Some(&line[1..]),
        Some('+' | '-') => None,
        _ => panic!("a line of a change begins with `+`, `-` or a space: {line}"),
    });
    those.collect()
}

impl Step {
    /// Makes the new file, or the change, in a project.
    pub fn apply(&self, project: &Path) {
        match self {
            Self::File { path, content } => {
                let file = project.join(path);
                assert!(!file.exists(), "{path} is there already");
                let parent = file.parent().expect("it is in a directory");
                fs::create_dir_all(parent).expect("the directory can be created");
                fs::write(file, content).expect("the file can be written");
            }
            Self::Change {
                path,
                before,
                after,
            } => {
                let file = project.join(path);
                let text =
                    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
                let times = text.matches(before).count();
                assert_eq!(times, 1, "{path} has {times} times\n{before}");
                fs::write(file, text.replacen(before, after, 1)).expect("the file can be written");
            }
            Self::Go(_) | Self::Commands(_) | Self::Interrupt => {}
        }
    }
}
