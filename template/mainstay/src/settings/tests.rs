//! Settings of an example with two sections: the fixtures of the tests.

mod check;
mod reference;
mod report;
mod secrets;
mod shown;
mod strict;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const REFERENCE: &str = r#"
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

#[derive(Debug)]
struct Example {
    http: Http,
    operator: Operator,
}

#[derive(Debug)]
struct Http {
    listen: SocketAddr,
    timeout: Duration,
    workers: u16,
    verbose: bool,
    ratio: Vec<String>,
}

#[derive(Debug)]
struct Operator {
    token: Option<Secret>,
    url: String,
}

impl Section for Example {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            http: from.section("http"),
            operator: from.section("operator"),
        }
    }
}

impl Section for Http {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            listen: from.value("listen"),
            timeout: from.value("timeout"),
            workers: from.value("workers"),
            verbose: from.value("verbose"),
            ratio: from.value("ratio"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        let enough = self.timeout >= Duration::from_secs(self.workers.into());
        check.that(
            enough,
            &["http.timeout", "http.workers"],
            "a second for each worker is needed",
        );
    }
}

impl Section for Operator {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            token: from.value("token"),
            url: from.value("url"),
        }
    }
}

/// Sources for a test: files in a directory of their own, variables, flags.
#[derive(Default)]
struct Given {
    directory: Option<TempDir>,
    sources: Sources,
}

impl Given {
    fn file(mut self, name: &str, content: &str) -> Self {
        let path = self.place(name, content);
        self.sources.files.push(path);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    /// A variable that names a file with this content.
    fn env_file(mut self, name: &str, content: &str) -> Self {
        let path = self.place(name, content);
        self.sources.environment.push((name.into(), path.into()));
        self
    }

    fn set(mut self, pair: &str) -> Self {
        self.sources.set.push(pair.to_owned());
        self
    }

    fn place(&mut self, name: &str, content: &str) -> PathBuf {
        let directory = self
            .directory
            .get_or_insert_with(|| TempDir::new().unwrap());
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn load(&self) -> Result<Loaded<Example>, Problems> {
        load(&Reference::new(&[REFERENCE]), &self.sources)
    }

    fn settings(&self) -> Example {
        self.load()
            .unwrap_or_else(|problems| panic!("{problems}"))
            .settings
    }

    /// The report, without the directory of the test.
    fn report(&self) -> String {
        let report = match self.load() {
            Ok(loaded) => panic!("these settings should be refused: {loaded:?}"),
            Err(problems) => problems.to_string(),
        };
        match &self.directory {
            Some(directory) => report.replace(&format!("{}/", directory.path().display()), ""),
            None => report,
        }
    }
}
