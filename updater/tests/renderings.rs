//! The renderer of `cargo run -- new` makes the same projects as cargo-generate, byte for byte, and
//! refuses the same names in the same words.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use generator::files::files;
use generator::generate::{Answers, generate};
use generator::repository;
use tempfile::TempDir;
use updater::rendering::{Rendering, stage, values};

/// Both renderings: of cargo-generate first, and of the generator.
struct Both {
    template: TempDir,
    place: TempDir,
}

impl Both {
    fn new() -> Self {
        let template = stage(repository::root()).unwrap();
        let place = tempfile::tempdir().unwrap();
        for workspace in ["alone", "member"] {
            fs::create_dir(place.path().join(workspace)).unwrap();
        }
        let manifest = place.path().join("member/Cargo.toml");
        fs::write(manifest, "[workspace]\n").unwrap();
        Self { template, place }
    }

    /// The directory of each project, or why it is refused. It is `alone`, or a `member` of a workspace.
    fn render(&self, name: &str, answers: &Answers, workspace: &str) -> [Result<PathBuf>; 2] {
        let root = self.place.path().join(workspace);
        let [theirs, ours] = [(); 2].map(|()| tempfile::tempdir_in(&root).unwrap().keep());
        let facts = [
            ("source", repository::origin(repository::root())),
            ("commit", repository::commit(repository::root())),
            ("workspace", Some(workspace.to_owned())),
        ];
        let rendering = Rendering {
            template: self.template.path().to_owned(),
            name: name.to_owned(),
            into: theirs.clone(),
            values: values(answers, facts),
        };
        let rendered = rendering.run(Path::new(env!("CARGO_BIN_EXE_updater")));
        [rendered.map(|()| theirs), generate(name, answers, &ours)]
    }

    fn assert_equal(&self, name: &str, answers: &Answers, workspace: &str) {
        let rendered = self.render(name, answers, workspace);
        let [theirs, ours] = rendered.map(Result::unwrap);
        let case = format!("{name:?} {answers:?} {workspace}");
        let names = files(&theirs);
        assert_eq!(names, files(&ours), "{case}");
        for file in names {
            let [a, b] = [&theirs, &ours].map(|root| fs::read(root.join(&file)).unwrap());
            let text = String::from_utf8_lossy(&b);
            assert!(a == b, "{case}: {}\n{text}", file.display());
        }
    }
}

fn answers(database: &str, example: &str, deploy: Option<&str>) -> Answers {
    Answers {
        database: Some(database.to_owned()),
        example: Some(example.to_owned()),
        deploy: deploy.map(str::to_owned),
        mainstay: None,
    }
}

#[test]
fn rendering_is_the_same_for_all_answers() {
    let both = Both::new();
    both.assert_equal("svc", &Answers::default(), "alone");
    for deploy in ["", "docker", "kubernetes", "systemd", "github"] {
        for (database, example) in [("sqlite", "hello"), ("postgres", "monitor")] {
            let answers = answers(database, example, Some(deploy));
            both.assert_equal("svc", &answers, "alone");
        }
    }
}

#[test]
fn rendering_is_the_same_in_a_workspace() {
    let both = Both::new();
    for (database, example) in [
        ("sqlite", "hello"),
        ("sqlite", "monitor"),
        ("postgres", "hello"),
        ("postgres", "monitor"),
    ] {
        let mut answers = answers(database, example, None);
        both.assert_equal("svc", &answers, "member");
        answers.mainstay = Some("../lookout/mainstay".to_owned());
        both.assert_equal("svc", &answers, "member");
        answers.deploy = Some("github, docker".to_owned());
        both.assert_equal("svc", &answers, "alone");
    }
}

#[test]
fn rendering_is_the_same_for_odd_names() {
    let both = Both::new();
    let long = "a-name-of-sixty-characters-is-what-nobody-ever-wants-to-type";
    for name in [
        "a", "my_svc", "MySvc", "my svc-2", "X2y", "a__b", "zz_", long,
    ] {
        both.assert_equal(name, &Answers::default(), "alone");
    }
}

#[test]
fn unusable_name_is_refused_with_the_reason() {
    let both = Both::new();
    let too_long = "x".repeat(64);
    for (name, reason) in [
        ("async", "a word of the Rust language"),
        ("crate", "a word of the Rust language"),
        ("Self", "a word of the Rust language"),
        ("test", "comes with Rust"),
        ("core", "comes with Rust"),
        ("std", "comes with Rust"),
        ("proc-macro", "comes with Rust"),
        ("build", "cargo keeps a directory"),
        ("mainstay", "the service depends on a crate"),
        ("tokio", "the service depends on a crate"),
        ("Futures-Core", "the service depends on a crate"),
        ("SerdeJson", "the service depends on a crate"),
        ("Log_", "the service depends on a crate"),
        ("2fast", "must begin with an ASCII letter"),
        ("-svc", "must begin with an ASCII letter"),
        (" ", "must begin with an ASCII letter"),
        ("naïve", "only ASCII letters, digits"),
        ("a/b", "only ASCII letters, digits"),
        ("", "empty"),
        (&too_long, "longer than 63"),
    ] {
        let refused = both.render(name, &Answers::default(), "alone");
        let [theirs, ours] = refused.map(|it| format!("{:#}", it.unwrap_err()));
        assert_eq!(theirs, ours, "{name:?}");
        assert!(ours.contains(reason), "{name:?} was refused with: {ours}");
    }
    assert!(
        files(both.place.path()).len() == 1,
        "files were left behind"
    );
}
