//! A generated project equals the template except for names, and contains no trace of templating.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::generate::{Answers, generate};
use harness::repository;
use harness::variant::{Variant, files};

use crate::project;

/// The differences between the tree in place and the default project, line by line.
///
/// Each project is generated under the name that its package has in place, so that the name makes
/// no difference. The expected differences are committed beside this file, for review after each
/// change.
#[test]
fn generated_differs_from_in_place_in_tags_only() {
    let template = repository::template();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let hello = project("beacon", directory.path());
    let answers = Answers {
        example: Some("monitor".to_owned()),
        ..Answers::default()
    };
    let place = directory.path();
    let monitor = generate("monitor", &answers, place).expect("the project is generated");

    let in_place = |skipped: &[&str], root: &Path| -> BTreeSet<PathBuf> {
        let skips = |file: &PathBuf| skipped.iter().any(|name| file.starts_with(name));
        let files = files(root).into_iter();
        files.filter(|file| !skips(file)).collect()
    };
    let mut found = String::from("hello\n");
    let names = in_place(&["data", "target", "monitor"], &template);
    found += &differences(&names | &files(&hello), &template, &hello);
    found += "monitor\n";
    let root = template.join("monitor");
    // The other files are the same as in hello.
    found += &differences(in_place(&["data"], &root), &root, &monitor);

    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generation/in-place.diff");
    if fs::read_to_string(&expected).ok().as_ref() != Some(&found) {
        let actual = repository::root().join("target/in-place.diff");
        fs::create_dir_all(repository::root().join("target")).expect("target/ can be made");
        fs::write(&actual, &found).expect("target/ can be written");
        panic!(
            "the differences are not those of tests/tests/generation/in-place.diff; read them, and \
             if each is meant: cp target/in-place.diff tests/tests/generation/in-place.diff\n{found}"
        );
    }
}

fn differences(names: BTreeSet<PathBuf>, template: &Path, generated: &Path) -> String {
    let mut found = String::new();
    for name in names {
        let [old, new] = [template, generated].map(|root| fs::read_to_string(root.join(&name)));
        match (old, new) {
            (Ok(old), Ok(new)) if old == new => {}
            // The packages of two examples, or of one. Other tests show that each builds.
            (Ok(_), Ok(_)) if name.ends_with("Cargo.lock") => {}
            // Prose with plain tags, which is readable in either form.
            (Ok(_), Ok(_)) if name.extension().is_some_and(|kind| kind == "md") => {}
            (Ok(_), Ok(_)) => {
                _ = writeln!(found, "{}", name.display());
                found += &difference(&template.join(&name), &generated.join(&name));
            }
            (Ok(_), Err(_)) => _ = writeln!(found, "only in place: {}", name.display()),
            (Err(_), Ok(_)) => _ = writeln!(found, "only generated: {}", name.display()),
            (Err(error), Err(_)) => panic!("{}: {error}", name.display()),
        }
    }
    found
}

/// The lines that are in only one of two files, in order.
fn difference(old: &Path, new: &Path) -> String {
    let mut diff = Command::new("diff");
    diff.args(["--minimal", "--unchanged-line-format="])
        .args(["--old-line-format=  - %L", "--new-line-format=  + %L"]);
    let output = diff.arg(old).arg(new).output().expect("diff runs");
    String::from_utf8(output.stdout).expect("a project is text")
}

#[test]
fn project_has_no_trace_of_the_template() {
    let mut variants = Variant::all();
    variants.push(Variant::default());
    variants.push(Variant::default().deploy(&[]));
    for choice in ["docker", "kubernetes", "systemd", "github"] {
        variants.push(Variant::default().deploy(&[choice]));
        variants.push(
            Variant::default()
                .database("postgres")
                .example("monitor")
                .deploy(&[choice]),
        );
    }
    let mut found = BTreeMap::new();
    for (number, variant) in variants.into_iter().enumerate() {
        let project = variant.generate();
        // The machinery is the same in all projects.
        let looked_at = |file: &PathBuf| number == 0 || !file.starts_with("mainstay");
        for file in files(project.dir()).into_iter().filter(looked_at) {
            for trace in traces(&file, &project.dir().join(&file)) {
                found.insert(
                    format!("{}: {trace}", file.display()),
                    project.name().to_owned(),
                );
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

fn traces(name: &Path, path: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a project is text");
    let mut found = Vec::new();
    let mut trace = |line: usize, what: &str| found.push(format!("line {}: {what}", line + 1));
    if !text.ends_with('\n') || text.ends_with("\n\n") {
        trace(text.lines().count(), "does not end with one newline");
    }
    // Rust contains `{{` in format strings.
    let tags = if name.extension().is_some_and(|kind| kind == "rs") {
        &["{%", "%}", "{{ ", "project-name"][..]
    } else {
        &["{%", "%}", "{{", "}}", "project-name", "#~"]
    };
    let deployment = ["Dockerfile", ".dockerignore", ".github", "deploy"];
    let is_deployment = deployment.iter().any(|start| name.starts_with(start));
    let mut before = "something";
    for (at, line) in text.lines().enumerate() {
        // GitHub's expressions look like tags.
        let tagged = if name.starts_with(".github") {
            line.replace("${{", "").replace("}}", "")
        } else {
            line.to_owned()
        };
        for tag in tags.iter().filter(|tag| tagged.contains(**tag)) {
            let record = name.ends_with(".template.toml") && *tag == "project-name";
            if !record {
                trace(at, tag);
            }
        }
        if line.to_lowercase().contains("beacon") {
            trace(at, "the name that the template has in place");
        }
        if line.ends_with([' ', '\t']) {
            trace(at, "a space at the end");
        }
        if line.is_empty() && (before.is_empty() || at == 0) {
            trace(at, "a blank line too many");
        }
        let code = line.trim_start();
        // A tag between two words may leave a doubled space. Code is aligned by several, and so is YAML in a comment.
        let comment = code.starts_with("# ") || code.starts_with("// ");
        let words = code.trim_start_matches(['#', '/']).trim_start();
        if (comment || is_deployment) && words.contains("  ") {
            trace(at, &format!("a doubled space: {line}"));
        }
        if ["//", "# ", "<!-- -->", "= ,", "[, "].contains(&code) {
            trace(at, "a comment of nothing");
        }
        before = line;
    }
    found
}
