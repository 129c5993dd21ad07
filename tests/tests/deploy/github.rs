//! GitHub: the workflow.

use serde_json::json;

use crate::project::Project;

#[test]
fn github_checks_what_the_readme_says_with_the_rights_to_read() {
    for project in Project::all() {
        let workflow = project.yaml(".github/workflows/ci.yml");
        assert_eq!(workflow["permissions"], json!({ "contents": "read" }));
        let jobs = workflow["jobs"].as_object().expect("jobs");
        let steps: Vec<_> = jobs
            .values()
            .flat_map(|job| job["steps"].as_array().expect("steps"))
            .collect();
        for uses in steps.iter().filter_map(|step| step["uses"].as_str()) {
            assert!(uses.starts_with("actions/"), "{uses} is by a third party");
        }
        let run: Vec<_> = steps
            .iter()
            .filter_map(|step| step["run"].as_str())
            .collect();
        for check in ["cargo build --locked", "cargo doc --locked --no-deps"] {
            assert!(run.contains(&check), "{check}");
        }
        for (told, check) in [
            ("cargo test", "cargo test --locked"),
            (
                "cargo clippy --all-targets -- -D warnings",
                "cargo clippy --locked --all-targets -- -D warnings",
            ),
            ("cargo fmt --check", "cargo fmt --check"),
        ] {
            assert!(project.text("README.md").contains(told), "{told}");
            assert!(run.contains(&check), "{check}");
        }
        let denies = run.iter().any(|run| run.starts_with("cargo deny"));
        let may = project.files.contains_key("deny.toml");
        assert_eq!(denies, may, "cargo deny and its settings belong together");
        // As the step that installs Rust looks for it.
        let asked = format!("\nrust-version = \"{}\"\n", project.package("rust-version"));
        assert!(project.text("Cargo.toml").contains(&asked), "{asked}");
        let asks = "sed -n 's/^rust-version = \"\\(.*\\)\"/\\1/p' Cargo.toml";
        assert!(run.iter().any(|run| run.contains(asks)), "{asks}");
    }
}
