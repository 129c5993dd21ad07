//! Docker: the build of the image, and its contents.

use std::collections::BTreeSet;
use std::fs;

use harness::generate::{Answers, generate};
use harness::repository;
use harness::service::Service;
use harness::variant::{PROFILE, cargo};

use crate::container::{Container, stop};
use crate::image::{Builder, COMMIT, compiled, with_image};
use crate::kubernetes::pod;
use crate::project::{NAME, PAIRS, Project, seconds, texts};

#[test]
fn dockerfile_agrees_with_the_service() {
    for project in Project::all() {
        let rust = project.package("rust-version");
        let lines = project.text("Dockerfile").lines();
        let froms: Vec<_> = lines.filter_map(|it| it.strip_prefix("FROM ")).collect();
        // The name and the number of the same Debian release.
        let build = format!("rust:{rust}-slim-trixie AS build");
        assert_eq!(froms, [&build, "gcr.io/distroless/cc-debian13:nonroot"]);

        let port = project.port();
        assert_eq!(project.image("EXPOSE"), [port.to_string()]);
        let listens = format!("APP__HTTP__LISTEN=0.0.0.0:{port}");
        let is_set = project.image("ENV").contains(&listens.as_str());
        assert!(is_set, "{listens}");

        let health = project.image("HEALTHCHECK").concat();
        let asks = format!(" CMD [\"/usr/local/bin/{NAME}\", \"healthcheck\"]");
        assert!(health.ends_with(&asks), "{health}");

        assert_eq!(project.image("STOPSIGNAL"), ["SIGTERM"]);
        let grace = seconds(&project.default("shutdown.grace"));
        for path in ["Dockerfile", "README.md"] {
            let waits = format!("--stop-timeout {grace}");
            assert!(project.text(path).contains(&waits), "{path}: {waits}");
        }

        let deployment = project.manifest("deployment");
        let user = &pod(&deployment)["securityContext"];
        let user = format!("{}:{}", user["runAsUser"], user["runAsGroup"]);
        assert_eq!(project.image("USER"), [&user]);
        assert!(!user.starts_with("0:"), "{user} is root");
    }
}

#[test]
fn build_gets_what_the_code_needs_and_nothing_else() {
    for project in Project::all() {
        let list = project.text(".dockerignore").split_once("\n*\n");
        let (closed, open) = list.expect("a pattern `*` that excludes everything");
        assert!(closed.lines().all(|line| line.starts_with('#')), "{closed}");
        let open: BTreeSet<_> = open.lines().map(|line| line.replacen('!', "", 1)).collect();

        // Those that the code does not include are named here. `image_serves_and_stops` misses any other.
        let always = ["Cargo.toml", "Cargo.lock", "build.rs", "mainstay", "src"];
        let included = open.iter().filter(|name| !always.contains(&name.as_str()));
        for name in included {
            let in_code = |(path, text): (&String, &String)| {
                path.starts_with("src/") && text.contains(&format!("/{name}/"))
            };
            let is_needed = project.files.iter().any(in_code);
            assert!(is_needed, "{name}");
        }
    }
}

#[tokio::test]
async fn image_serves_and_stops() {
    for answers in PAIRS {
        let container = Container::new(answers).await;
        let image = &container.image;

        let service = container.start(container.launch(&image.entrypoint)).await;

        let healthy = container.run_beside(&service, &image.health).await;
        assert_eq!(healthy.code, Some(0), "{healthy:?}");
        stop(service).await;
        let version = container.launch(&image.entrypoint).arg("--version");
        let version = version.run().await.expect("a program of the image");
        assert!(version.stdout.contains(COMMIT), "{version:?}");
    }
}

#[test]
fn dependencies_have_a_layer_of_their_own() {
    for answers in PAIRS {
        with_image(answers, |builder, _| {
            let [dependencies, service] = &builder.printed[..2] else {
                panic!("two commands: {:?}", builder.printed);
            };
            let machinery = compiled(dependencies).contains(&"mainstay");
            assert!(machinery, "{dependencies}");
            assert_eq!(compiled(service), [NAME], "{service}");

            let files = builder.cached_files();
            for path in builder.context.keys() {
                let is_dependency = path.starts_with("mainstay/")
                    || ["Cargo.lock", "Cargo.toml", "build.rs"].contains(&path.as_str());
                assert_eq!(files.contains_key(path), is_dependency, "{path}");
            }
        });
    }
}

#[test]
fn a_changed_service_is_built_on_the_cached_layer() {
    with_image(PAIRS[0], |builder, _| {
        let path = "src/main.rs";
        let changed = format!("{}\n// Changed.\n", builder.context[path]);

        builder.build_on_cache(path, &changed);

        let last = builder.printed.last().expect("a command");
        assert_eq!(compiled(last), [NAME], "{last}");
    });
}

const WORKSPACE: &str = r#"
[workspace]
resolver = "3"
members = ["*"]
exclude = ["target"]

[profile.dev.package.mainstay]
debug = "line-tables-only"
"#;

#[tokio::test]
async fn image_of_a_member_is_built_in_its_workspace() {
    let workspace = tempfile::tempdir().expect("a directory for a workspace");
    let root = workspace.path();
    fs::write(root.join("Cargo.toml"), format!("{WORKSPACE}\n{PROFILE}")).expect("a manifest");
    let lock = repository::template().join("Cargo.lock");
    fs::copy(lock, root.join("Cargo.lock")).expect("a lock");
    for (name, mainstay) in [("lookout", "mainstay"), (NAME, "../lookout/mainstay")] {
        let answers = Answers {
            mainstay: Some(mainstay.to_owned()),
            ..Answers::default()
        };
        generate(name, &answers, root).expect("a member");
    }
    // Removes packages that these two do not need from the lock.
    cargo(root, "the workspace", &["metadata", "--format-version=1"]);
    let files = texts(root);
    let text = |name: &str| files[&format!("{NAME}/{name}")].as_str();
    let ignored = text("Dockerfile.dockerignore");

    let image = Builder::new("member", &files, text("Dockerfile"), ignored).build();

    let version = Service::of(image.place(&image.entrypoint[0])).arg("--version");
    let version = version.run().await.expect("a program of the image");
    assert!(version.stdout.contains(COMMIT), "{version:?}");
}
