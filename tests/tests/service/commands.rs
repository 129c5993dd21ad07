//! The commands do what their help says, and report the outcome with their exit codes.

use std::process::Command;

use harness::eventually;
use harness::fleet;
use harness::http::{self, Http1, Request};
use harness::service::{Service, Signal};

use crate::{hello, run};

#[tokio::test]
async fn version_names_the_version_the_commit_and_the_profile() {
    let output = run(hello(), "--version").await;
    assert_eq!(output.code, Some(0));
    let expected = "svc-hello 0.1.0 (commit unknown, debug build)\n";
    assert_eq!(output.stdout, expected, "this project is in no repository");

    let member = fleet::HELLO_ON_POSTGRES;
    let version = run(Service::of(member.binary()), "--version").await;
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        let output = git.args(arguments).current_dir(member.directory()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let name = member.name();
    let expected = format!("{name} 0.1.0 (commit {commit}, debug build)\n");
    assert_eq!(version.stdout, expected);
    let left = git(&["status", "--porcelain"]);
    assert_eq!(left, "", "a build leaves nothing to commit");
}

#[tokio::test]
async fn help_names_every_command_and_exit_code() {
    let output = run(hello(), "--help").await;

    assert_eq!(output.code, Some(0));
    let words = ["serve", "migrate", "config", "healthcheck"];
    for word in words.into_iter().chain(["--config", "--set", "128+n"]) {
        let help = &output.stdout;
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
}

#[tokio::test]
async fn wrong_usage_exits_with_2_and_a_hint() {
    for (command, hint) in [
        ("serv", "serve"),
        ("config", "print"),
        ("--sett a=b", "--set"),
        ("--config", "FILE"),
        ("migrate --chek", "--check"),
    ] {
        let output = run(hello(), command).await;
        assert_eq!(output.code, Some(2), "{command}");
        assert!(output.stderr.contains(hint), "{command}: {}", output.stderr);
    }
}

#[tokio::test]
async fn healthcheck_works_at_the_connection_limit() {
    let launch = hello()
        .set("http.max_connections", 1)
        .set("shutdown.delay", "5s");
    let running = launch.ready().await;
    let address = running.operator().await;
    let mut inside = Http1::connect(running.http().await).await.unwrap();
    assert_eq!(inside.get("/livez").await.unwrap().status, 200);
    let check = async |command: &str, code: i32, said: &str| {
        let checked = run(hello().set("operator.listen", address), command).await;
        assert_eq!(checked.code, Some(code), "{command}: {checked:?}");
        let output = checked.stdout + &checked.stderr;
        assert!(output.contains(said), "{command}: {output}");
    };
    check("healthcheck", 0, "readyz passes\n").await;
    check("healthcheck readyz", 0, "readyz passes\n").await;
    check("healthcheck livez", 0, "livez passes\n").await;
    check("healthcheck startupz", 0, "startupz passes\n").await;
    check("healthcheck healthz", 2, "healthz").await;
    assert_eq!(inside.get("/livez").await.unwrap().status, 200);

    running.signal(Signal::TERM);
    running.event("draining").await;
    check("healthcheck", 1, "readyz fails\n").await;

    running.signal(Signal::TERM);
    running.exit().await;
    let gone = format!("no answer from {address} (operator.listen)");
    check("healthcheck", 1, &gone).await;
}

#[tokio::test]
async fn service_with_pending_migrations_names_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let here = hello().directory(directory.path());
    let check = || run(here.clone(), "migrate --check");
    let careful = here.clone().set("database.migrate_on_start", false);

    let pending = check().await;
    let expected = "error: there is no database yet: every migration is pending\n";
    assert_eq!((pending.code, pending.stderr.as_str()), (Some(1), expected));
    let refused = careful.clone().start().await.unwrap().exit().await;
    refused.failed(&[
        "database sqlite:data/service.db",
        "run `svc-hello migrate` first",
    ]);
    let data = directory.path().join("data");
    assert!(!data.exists(), "neither creates a file");

    let migrated = run(here.clone(), "migrate").await;
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    assert_eq!(check().await.code, Some(0));
    let service = careful.ready().await;
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn data_survives_a_restart_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let here = hello().directory(directory.path());

    for times in 1..=2 {
        let running = here.clone().ready().await;
        let visit = Request::post("/v1/hello/Ada");
        let greeted = http::send(running.http().await, visit).await.unwrap();
        assert_eq!(greeted.json()["times"], times, "{greeted}");
        assert_eq!(running.stop().await.code, Some(0));

        // The write-ahead log was checkpointed.
        let left = std::fs::read_dir(directory.path().join("data")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["service.db"]);
    }
}

#[tokio::test]
async fn operator_lists_and_controls_tasks() {
    let running = hello().ready().await;
    let operator = running.operator().await;
    let order = async |path: &str| {
        let request = Request::post(&format!("/api/tasks/{path}"));
        http::send(operator, request).await.unwrap().status
    };
    for (action, state) in [("pause", "paused"), ("resume", "running")] {
        assert_eq!(order(&format!("health.database/{action}")).await, 202);
        eventually(state, async || {
            let listed = running.ask("/api/state").await.json();
            let mut tasks = listed["tasks"].as_array()?.iter();
            let task = tasks.find(|task| task["name"] == "health.database")?;
            (task["state"] == state).then_some(())
        })
        .await;
    }
    for unknown in ["nobody/pause", "health.database/explode"] {
        assert_eq!(order(unknown).await, 404, "{unknown}");
    }
    assert_eq!(running.stop().await.code, Some(0));
}
