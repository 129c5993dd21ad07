//! Follows the tutorial step by step in a freshly generated project.
//!
//! Each command is run, and its output must match the page. A plain `cargo run` keeps running until
//! the page stops it with Ctrl-C.

use std::fs;
use std::path::PathBuf;

use harness::tutorial::{Step, page, read};

use crate::like::assert_like;
use crate::terminal::{Service, generating, shell, steps};

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
            Step::Commands(block) => found[2] += steps(block).len(),
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

/// Executes the steps of the page.
struct Reader {
    home: PathBuf,
    directory: PathBuf,
    service: Option<Service>,
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
            Step::File { .. } | Step::Change { .. } => step.apply(&self.file("")),
            Step::Commands(block) => {
                for (command, expected) in steps(&block) {
                    self.run(&command, &expected);
                }
            }
            Step::Interrupt => {
                if let Some(service) = self.service.take() {
                    let said = service.interrupt();
                    assert!(said.contains("exit_code=0"), "{said}");
                }
            }
        }
    }

    fn file(&self, path: &str) -> PathBuf {
        assert!(self.service.is_none(), "the service still runs");
        assert_ne!(self.directory, self.home, "no step has changed it");
        self.directory.join(path)
    }

    fn run(&mut self, command: &str, expected: &str) {
        if let Some(command) = generating(command) {
            let name = command.split(' ').nth(2).expect("it has a name");
            // The project of an earlier run.
            _ = fs::remove_dir_all(self.home.join(name));
            assert_like(expected, &shell(&command, &self.home));
        } else if matches!(command, "cargo run" | "cargo run --quiet") {
            let (service, said) = Service::start(command, &self.directory);
            assert_like(expected, &said);
            self.service = Some(service);
        } else {
            let [command, expected] = [command, expected].map(|text| match &self.service {
                Some(service) => service.local(text),
                None => text.to_owned(),
            });
            assert_like(&expected, &shell(&command, &self.directory));
        }
    }
}
