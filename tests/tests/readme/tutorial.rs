//! Follows the tutorial step by step in a freshly generated project.
//!
//! - A block of code is a new file. A block in `diff` is a change of a file. The preceding
//!   paragraph ends with the file's name. The old lines of a change must occur in the file exactly
//!   once.
//! - Each command is run, and its output must match the page. A plain `cargo run` keeps running
//!   until the page stops it with Ctrl-C.
//! - A block in `sh` changes the directory, or repeats the preceding step in another way.

use std::fs;
use std::path::PathBuf;

use harness::repository;

use crate::like::assert_like;
use crate::terminal::{self, Terminal, generating, port, shell};

pub(crate) fn page() -> String {
    fs::read_to_string(repository::root().join("docs/tutorial.md")).expect("there is a tutorial")
}

#[test]
fn tutorial_can_be_followed() {
    let (home, _lock) = crate::home("tutorial");
    let mut reader = Reader::at(home);
    // Files, changes and commands.
    let mut found = [0; 3];
    for step in read(&page()) {
        match &step {
            Step::File { .. } => found[0] += 1,
            Step::Change { .. } => found[1] += 1,
            Step::Commands(block) => found[2] += block.len(),
            Step::Go(_) | Step::Interrupt => {}
        }
        reader.follow(step);
    }
    assert!(reader.service.is_none(), "the service was never stopped");
    // The project's own tests do not notice if this is missing.
    let metrics = fs::read_to_string(reader.file("docs/metrics.md")).expect("there is a list");
    assert!(metrics.contains("| `notes_written_total` |"), "{metrics}");
    let is_looking = found[0] >= 3 && found[1] >= 10 && found[2] >= 12;
    assert!(is_looking, "only {found:?} steps were found");
}

/// A step for the reader of a page.
enum Step {
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
    Commands(Vec<(String, String)>),
    Interrupt,
}

/// The steps of a page, in order.
fn read(page: &str) -> Vec<Step> {
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
            "console" => steps.push(Step::Commands(terminal::steps(&code))),
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

/// Executes the steps of the page.
struct Reader {
    home: PathBuf,
    directory: PathBuf,
    service: Option<Running>,
}

struct Running {
    terminal: Terminal,
    operator: String,
    http: String,
}

impl Reader {
    fn at(home: PathBuf) -> Self {
        Self {
            directory: home.clone(),
            home,
            service: None,
        }
    }

    fn follow(&mut self, step: Step) {
        match step {
            Step::Go(to) => {
                let name = to.strip_prefix("../").expect("a neighbour");
                self.directory = self.home.join(name);
            }
            Step::File { path, content } => self.write(&path, &content),
            Step::Change {
                path,
                before,
                after,
            } => self.change(&path, &before, &after),
            Step::Commands(commands) => {
                for (command, expected) in commands {
                    self.run(&command, &expected);
                }
            }
            Step::Interrupt => {
                if let Some(mut service) = self.service.take() {
                    service.terminal.interrupt();
                    let said = service.terminal.rest();
                    assert!(said.contains("exit_code=0"), "{said}");
                }
            }
        }
    }

    fn write(&self, path: &str, content: &str) {
        let file = self.file(path);
        assert!(!file.exists(), "{path} is there already");
        let parent = file.parent().expect("it is in a directory");
        fs::create_dir_all(parent).expect("the directory can be created");
        fs::write(file, content).expect("the file can be written");
    }

    fn change(&self, path: &str, before: &str, after: &str) {
        let file = self.file(path);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        let times = text.matches(before).count();
        assert_eq!(times, 1, "{path} has {times} times\n{before}");
        fs::write(file, text.replacen(before, after, 1)).expect("the file can be written");
    }

    fn file(&self, path: &str) -> PathBuf {
        assert!(self.service.is_none(), "the service still runs");
        assert!(
            self.directory != self.home,
            "no step has changed the directory"
        );
        self.directory.join(path)
    }

    fn run(&mut self, command: &str, expected: &str) {
        if let Some(command) = generating(command) {
            let name = command.split(' ').nth(2).expect("it has a name");
            // The project of an earlier run.
            _ = fs::remove_dir_all(self.home.join(name));
            assert_like(expected, &shell(&command, &self.home));
        } else if matches!(command, "cargo run" | "cargo run --quiet") {
            let terminal = Terminal::run(command, &self.directory);
            let said = terminal.read_until(|line| line.ends_with(": ready"));
            assert_like(expected, &said);
            self.service = Some(Running {
                terminal,
                operator: port(&said, "operator"),
                http: port(&said, "http"),
            });
        } else {
            let [command, expected] = [command, expected].map(|text| self.local(text));
            assert_like(&expected, &shell(&command, &self.directory));
        }
    }

    /// Replaces the documented ports with those of the running service.
    fn local(&self, text: &str) -> String {
        match &self.service {
            None => text.to_owned(),
            Some(it) => text
                .replace("localhost:9090", &format!("localhost:{}", it.operator))
                .replace("localhost:8080", &format!("localhost:{}", it.http)),
        }
    }
}
