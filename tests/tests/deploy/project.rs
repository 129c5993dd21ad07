//! Generated projects, and accessors for their files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use harness::generate::{Answers, generate};
use harness::variant::files;
use serde_json::Value;

/// With a hyphen, so that it differs from the name of its crate.
pub(crate) const NAME: &str = "night-watch";

/// Each database and each example at least once. No file depends on both answers.
pub(crate) const PAIRS: [(&str, &str); 2] = [("sqlite", "hello"), ("postgres", "monitor")];
pub(crate) const CHOICES: [&str; 4] = ["docker", "kubernetes", "systemd", "github"];

/// A generated project: its files by path. The name is the same for all answers.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    pub(crate) files: BTreeMap<String, String>,
}

impl Project {
    /// Generates a project, once for each set of answers.
    pub(crate) fn of(database: &str, example: &str, deploy: &[&str]) -> Self {
        static KNOWN: LazyLock<Mutex<HashMap<Answers, Project>>> = LazyLock::new(Mutex::default);
        let answers = Answers {
            database: Some(database.to_owned()),
            example: Some(example.to_owned()),
            deploy: Some(deploy.join(",")),
            ..Answers::default()
        };
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let project = known.entry(answers.clone()).or_insert_with(|| {
            let place = tempfile::tempdir().expect("a directory for a project");
            let directory = generate(NAME, &answers, place.path()).expect("a project");
            Self {
                files: texts(&directory),
            }
        });
        project.clone()
    }

    /// One project for each of [`PAIRS`], with all deployment files.
    pub(crate) fn all() -> [Self; 2] {
        PAIRS.map(|(database, example)| Self::of(database, example, &CHOICES))
    }

    pub(crate) fn paths(&self) -> BTreeSet<String> {
        self.files.keys().cloned().collect()
    }

    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> &str {
        let text = self.files.get(path);
        text.unwrap_or_else(|| panic!("there is no {path}"))
    }

    #[track_caller]
    pub(crate) fn yaml(&self, path: &str) -> Value {
        serde_saphyr::from_str(self.text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    #[track_caller]
    pub(crate) fn manifest(&self, kind: &str) -> Value {
        self.yaml(&format!("deploy/kubernetes/{kind}.yaml"))
    }

    /// The value of an instruction in the Dockerfile's last stage, such as `USER`.
    #[track_caller]
    pub(crate) fn image(&self, instruction: &str) -> Vec<&str> {
        let stages = self.text("Dockerfile").rsplit_once("\nFROM ");
        let lines = stages.expect("two stages").1.lines();
        let said = lines.filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '));
        said.collect()
    }

    /// All values of a directive in the systemd unit.
    #[track_caller]
    pub(crate) fn unit(&self, directive: &str) -> Vec<&str> {
        let unit = self.text(&format!("deploy/systemd/{NAME}.service"));
        let lines = unit.lines();
        let said = lines.filter_map(|line| line.strip_prefix(directive)?.strip_prefix('='));
        said.collect()
    }

    /// A field of the package in the manifest, such as its version.
    #[track_caller]
    pub(crate) fn package(&self, key: &str) -> String {
        let manifest: toml::Table = self.text("Cargo.toml").parse().expect("a manifest");
        let value = manifest["package"].get(key).and_then(toml::Value::as_str);
        value.unwrap_or_else(|| panic!("no {key}")).to_owned()
    }

    /// All settings by section: those of the machinery, then the service's own.
    pub(crate) fn defaults(&self) -> toml::Table {
        let is_default = |path: &&String| path.starts_with("mainstay/config/");
        let paths = self.files.keys().filter(is_default).map(String::as_str);
        let mut all = toml::Table::new();
        for path in paths.chain(["config/default.toml"]) {
            let settings: toml::Table = self.text(path).parse().expect("settings");
            for (name, keys) in settings {
                let toml::Value::Table(keys) = keys else {
                    panic!("{path}: {name} is no section");
                };
                let section = all.entry(name).or_insert_with(|| toml::Table::new().into());
                section.as_table_mut().expect("a section").extend(keys);
            }
        }
        all
    }

    #[track_caller]
    pub(crate) fn default(&self, key: &str) -> String {
        let (section, name) = key.split_once('.').expect("section.key");
        let defaults = self.defaults();
        let value = defaults.get(section).and_then(|section| section.get(name));
        match value.unwrap_or_else(|| panic!("there is no setting {key}")) {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    /// The port of the public listener.
    pub(crate) fn port(&self) -> u64 {
        let listen = self.default("http.listen");
        let (_, port) = listen.rsplit_once(':').expect("an address with a port");
        port.parse().expect("a port")
    }
}

/// The files below a directory, by path.
pub(crate) fn texts(directory: &Path) -> BTreeMap<String, String> {
    let text = |path: &Path| fs::read_to_string(directory.join(path)).expect("a text file");
    let paths = files(directory).into_iter();
    let texts = paths.map(|path| (path.display().to_string(), text(&path)));
    texts.collect()
}

/// Parses a duration in whole seconds, such as `30s`.
#[track_caller]
pub(crate) fn seconds(duration: &str) -> u64 {
    let number = duration.strip_suffix('s').map(str::parse);
    match number {
        Some(Ok(number)) => number,
        _ => panic!("{duration} is not in whole seconds"),
    }
}
