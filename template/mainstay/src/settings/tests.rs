//! Settings of an example with two sections: the fixtures of the tests.

mod defaults;
mod report;
mod secrets;
mod shown;
mod strict;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use super::*;

const DEFAULTS: &str = r#"
# What this is all about.
[http]
# Where it listens.
listen = "127.0.0.1:8080"
# How long a request may take,
# at most.
timeout = "10s"
workers = 4
verbose = false
ratio = ["a", "b"]

[operator]
token = ""
url = ""
"#;

#[derive(Debug, Deserialize, Validate)]
struct Example {
    #[garde(dive)]
    http: Http,
    #[garde(skip)]
    operator: Operator,
}

#[derive(Debug, Deserialize, Validate)]
#[garde(allow_unvalidated)]
#[garde(custom(Self::has_a_second_for_each_worker))]
struct Http {
    listen: SocketAddr,
    #[garde(custom(at_least("1s")))]
    timeout: Duration,
    pool: Pool,
    verbose: bool,
    ratio: Vec<String>,
}

/// More keys of `[http]`.
#[derive(Debug, Deserialize)]
struct Pool {
    #[serde(deserialize_with = "whole_number::<1, 100, _, _>")]
    workers: u16,
}

#[derive(Debug, Deserialize)]
struct Operator {
    token: Option<Secret>,
    url: String,
}

impl Http {
    fn has_a_second_for_each_worker(&self, &(): &()) -> garde::Result {
        rule(
            self.timeout >= Duration::from_secs(self.pool.workers.into()),
            &["timeout", "http.workers"],
            "a second for each worker is needed",
        )
    }
}

/// Sources for a test: files in a directory of their own, variables, flags.
struct Given {
    directory: TempDir,
    sources: Sources,
}

/// Nothing but the defaults.
fn given() -> Given {
    Given {
        directory: TempDir::new().unwrap(),
        sources: Sources::default(),
    }
}

impl Given {
    fn file(mut self, name: &str, content: &str) -> Self {
        let path = self.write(name, content);
        self.sources.files.push(path);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.insert(name.into(), value.into());
        self
    }

    /// A variable that names a file with this content.
    fn env_file(self, name: &str, content: &str) -> Self {
        let path = self.write(name, content);
        self.env(name, path.to_str().unwrap())
    }

    fn set(mut self, pair: &str) -> Self {
        self.sources.set.push(pair.to_owned());
        self
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn load_by<S: Section>(&self, defaults: &str) -> Result<Loaded<S>, String> {
        load(Table::new(&[defaults]), &self.sources)
    }

    fn load(&self) -> Loaded<Example> {
        let loaded = self.load_by(DEFAULTS);
        loaded.unwrap_or_else(|report| panic!("{report}"))
    }

    /// The report, without the directory of the test.
    fn report(&self) -> String {
        let refused = self
            .load_by::<Example>(DEFAULTS)
            .map(|loaded| loaded.entries);
        let directory = format!("{}/", self.directory.path().display());
        refused.unwrap_err().replace(&directory, "")
    }

    /// Checks that the settings are refused, with these words and without the secret of the tests.
    #[track_caller]
    fn reports(&self, words: &str) {
        let report = self.report();
        assert!(report.contains(words), "{words} is not in {report}");
        assert!(!report.contains("hunter"), "{report}");
    }
}
