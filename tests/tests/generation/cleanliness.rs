//! What is generated is the template under another name, and nothing in it tells of templates.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use harness::repository;
use harness::variant::{Variant, files};

use crate::project;

/// What differs between the tree in place and the default project, line by line.
///
/// The project is generated under the name that the template has in place, so that the name is no
/// difference. What is left is committed beside this file, and read whenever it changes.
#[test]
fn in_place_and_generated_differ_in_tags_and_in_nothing_else() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let generated = project("beacon", directory.path());
    let template = repository::template();
    let skipped = |file: &Path| ["data", "target"].iter().any(|left| file.starts_with(left));

    let mut found = String::new();
    let mut names = files(&generated);
    names.extend(files(&template).into_iter().filter(|file| !skipped(file)));
    for name in names {
        let [old, new] = [&template, &generated].map(|root| fs::read_to_string(root.join(&name)));
        match (old, new) {
            (Ok(old), Ok(new)) if old == new => {}
            // Two locks of two databases; that each builds is what other tests show.
            (Ok(_), Ok(_)) if name.ends_with("Cargo.lock") => {}
            // Prose with plain tags, which reads as prose in either form.
            (Ok(_), Ok(_)) if name.ends_with("README.md") => {}
            (Ok(old), Ok(new)) => found += &difference(&name, &old, &new),
            (Ok(_), Err(_)) => _ = writeln!(found, "only in place: {}", name.display()),
            (Err(_), Ok(_)) => _ = writeln!(found, "only generated: {}", name.display()),
            (Err(error), Err(_)) => panic!("{}: {error}", name.display()),
        }
    }

    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generation/in-place.diff");
    if fs::read_to_string(&expected).ok().as_ref() != Some(&found) {
        let actual = repository::root().join("target/in-place.diff");
        fs::write(&actual, &found).expect("target/ can be written");
        panic!(
            "the differences are not those of tests/tests/generation/in-place.diff; read them, and \
             if each is meant: cp target/in-place.diff tests/tests/generation/in-place.diff\n{found}"
        );
    }
}

/// The lines that are in one of two files only, in order.
fn difference(name: &Path, old: &str, new: &str) -> String {
    let mut text = format!("{}\n", name.display());
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    // The longest common subsequence, by the textbook: files here have some hundred lines.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            _ = writeln!(text, "  - {}", old[i]);
            i += 1;
        } else {
            _ = writeln!(text, "  + {}", new[j]);
            j += 1;
        }
    }
    text
}

#[test]
fn no_project_has_a_trace_of_the_template() {
    let mut variants = Variant::all();
    variants.push(Variant::default());
    variants.push(Variant::default().deploy(&[]));
    for choice in ["docker", "kubernetes", "systemd", "github"] {
        variants.push(Variant::default().deploy(&[choice]));
        variants.push(
            Variant::default()
                .database("postgres")
                .example("none")
                .deploy(&[choice]),
        );
    }
    let mut found = BTreeMap::new();
    for variant in variants {
        let project = variant.generate();
        for file in files(project.dir()) {
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
    // A workflow has `${{ }}` of its own, and Rust has `{{` in format strings.
    let tags = if name.starts_with(".github") {
        &["{%", "%}"][..]
    } else if name.extension().is_some_and(|kind| kind == "rs") {
        &["{%", "%}", "{{ ", "project-name"][..]
    } else {
        &["{%", "%}", "{{", "}}", "project-name"]
    };
    let mut before = "something";
    for (at, line) in text.lines().enumerate() {
        for tag in tags.iter().filter(|tag| line.contains(**tag)) {
            let record = name.ends_with(".template.toml") && *tag == "project-name";
            if !record {
                trace(at, tag);
            }
        }
        if line.contains("beacon") {
            trace(at, "the name that the template has in place");
        }
        if line.ends_with([' ', '\t']) {
            trace(at, "a space at the end");
        }
        if line.is_empty() && (before.is_empty() || at == 0) {
            trace(at, "a blank line too many");
        }
        let code = line.trim_start();
        // In a comment, a doubled space is what a tag left between two words.
        let comment = code.starts_with("# ") || code.starts_with("// ");
        if comment && code.contains("  ") {
            trace(at, &format!("a doubled space: {line}"));
        }
        if ["//", "# ", "<!-- -->", "= ,", "[, "].contains(&code) {
            trace(at, "a comment of nothing");
        }
        before = line;
    }
    found
}
