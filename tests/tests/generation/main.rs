//! Generation keeps its promises: a clean project of any name, in any place, from nothing but the
//! template, or a refusal that says why.

mod cleanliness;
mod guard;
mod names;
mod places;

use std::path::{Path, PathBuf};

use harness::generate::{Answers, Place, generate};
use harness::repository;

/// Generates, and expects that to be refused; says with which words.
fn refusal(name: &str, answers: &Answers) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let refused = generate(name, answers, Place::Below(directory.path()));
    let left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("it is there")
        .collect();
    assert!(
        left.is_empty(),
        "{name:?} was refused, and left {left:?} behind"
    );
    format!(
        "{:#}",
        refused.expect_err(&format!("{name:?} with {answers:?} should be refused"))
    )
}

/// Generates with every default into `directory`.
fn project(name: &str, directory: &Path) -> PathBuf {
    generate(name, &Answers::default(), Place::Below(directory))
        .unwrap_or_else(|error| panic!("{name} cannot be generated: {error:#}"))
}

#[test]
fn a_wrong_answer_is_refused_by_its_name() {
    let database = Answers {
        database: Some("oracle".to_owned()),
        ..Answers::default()
    };
    let words = refusal("svc", &database);
    assert!(
        words.contains("oracle") && words.contains("database"),
        "{words}"
    );

    let example = Answers {
        example: Some("blog".to_owned()),
        ..Answers::default()
    };
    let words = refusal("svc", &example);
    assert!(
        words.contains("blog") && words.contains("example"),
        "{words}"
    );

    let deploy = Answers {
        deploy: Some("docker,heroku".to_owned()),
        ..Answers::default()
    };
    let words = refusal("svc", &deploy);
    assert!(
        words.contains("heroku") && words.contains("deploy"),
        "{words}"
    );
}

#[test]
fn a_project_knows_what_it_was_generated_from() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let answers = Answers {
        database: Some("postgres".to_owned()),
        example: Some("none".to_owned()),
        deploy: Some("github,docker".to_owned()),
        source: Some("somewhere".to_owned()),
    };
    let project = generate("my-svc", &answers, Place::Below(directory.path())).expect("it works");

    let record = std::fs::read_to_string(project.join(".template.toml")).expect("it is there");
    let record: toml::Table = record.parse().expect("it is TOML");
    let version = env!("CARGO_PKG_VERSION");
    let expected = toml::toml! {
        [template]
        version = version
        source = "somewhere"

        [answers]
        project-name = "my-svc"
        database = "postgres"
        example = "none"
        deploy = ["github", "docker"]
    };
    assert_eq!(record, expected);
}

#[test]
fn two_generations_with_the_same_answers_are_the_same() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().expect("a temporary directory"));
    let [one, two] = [&one, &two].map(|directory| project("same", directory.path()));
    let names = harness::variant::files(&one);
    assert_eq!(names, harness::variant::files(&two));
    for name in names {
        let [a, b] = [&one, &two].map(|root| std::fs::read(root.join(&name)).expect("a file"));
        assert_eq!(a, b, "{}", name.display());
    }
    assert!(repository::template().is_dir());
}

#[test]
fn without_an_example_the_service_is_read_in_a_few_minutes() {
    const MOST: usize = 200;
    for database in ["sqlite", "postgres"] {
        let answers = Answers {
            database: Some(database.to_owned()),
            example: Some("none".to_owned()),
            ..Answers::default()
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let place = Place::Below(directory.path());
        let project = generate("svc", &answers, place).expect("it is generated");
        let files = harness::variant::files(&project);
        let of_the_service =
            |name: &&PathBuf| name.starts_with("src/service") || name.starts_with("migrations");
        let lengths = files.iter().filter(of_the_service).map(|name| {
            let text = std::fs::read_to_string(project.join(name)).expect("text");
            text.lines().count()
        });
        let lengths: Vec<_> = lengths.collect();
        let lines = lengths.iter().sum::<usize>();
        assert!(
            lengths.len() >= 4,
            "only {} files: is this looking?",
            lengths.len()
        );
        assert!(lines < MOST, "{database}: {lines} lines in {lengths:?}");
    }
}
