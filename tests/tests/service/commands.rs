//! The commands do what their help says, and report the outcome with their exit codes.

use std::process::Command;

use harness::fleet;
use harness::http::{self, Http1};
use harness::service::{Service, Signal};

use crate::hello;

#[tokio::test]
async fn version_names_the_version_the_commit_and_the_profile() {
    let output = hello().arg("--version").run().await.unwrap();
    assert_eq!(output.code, Some(0));
    let expected = "svc-hello 0.1.0 (commit unknown, debug build)\n";
    assert_eq!(output.stdout, expected, "this project is in no repository");

    let member = fleet::HELLO_ON_POSTGRES;
    let version = Service::of(member.binary()).arg("--version");
    let version = version.run().await.unwrap().stdout;
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
    assert_eq!(version, expected);
    let left = git(&["status", "--porcelain"]);
    assert_eq!(left, "", "a build leaves nothing to commit");
}

#[tokio::test]
async fn help_names_every_command_and_exit_code() {
    let output = hello().arg("--help").run().await.unwrap();

    assert_eq!(output.code, Some(0));
    for word in [
        "serve",
        "migrate",
        "config",
        "healthcheck",
        "--config",
        "--set",
        "128+n",
    ] {
        assert!(
            output.stdout.contains(word),
            "{word} is not in:\n{}",
            output.stdout
        );
    }
}

#[tokio::test]
async fn wrong_usage_exits_with_2_and_a_hint() {
    for (arguments, hint) in [
        (&["serv"][..], "serve"),
        (&["config"], "print"),
        (&["--sett", "a=b"], "--set"),
        (&["--config"], "FILE"),
        (&["migrate", "--chek"], "--check"),
    ] {
        let mut launch = hello();
        for argument in arguments {
            launch = launch.arg(*argument);
        }
        let output = launch.run().await.unwrap();
        assert_eq!(output.code, Some(2), "{arguments:?}");
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(hint), "{arguments:?}: {said}");
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
    let check = || hello().arg("healthcheck").set("operator.listen", address);
    for (check, said) in [
        (check(), "readyz passes\n"),
        (check().arg("readyz"), "readyz passes\n"),
        (check().arg("livez"), "livez passes\n"),
        (check().arg("startupz"), "startupz passes\n"),
    ] {
        let checked = check.run().await.unwrap();
        let found = (checked.code, checked.stdout.as_str());
        assert_eq!(found, (Some(0), said), "{}", checked.stderr);
    }
    let unknown = check().arg("healthz").run().await.unwrap();
    assert_eq!(unknown.code, Some(2), "the probe does not exist");
    assert_eq!(inside.get("/livez").await.unwrap().status, 200);

    running.signal(Signal::TERM);
    running.event("draining").await;
    let draining = check().run().await.unwrap();
    let found = (draining.code, draining.stdout.as_str());
    assert_eq!(found, (Some(1), "readyz fails\n"));

    running.signal(Signal::TERM);
    running.exit().await;
    let gone = check().run().await.unwrap();
    assert_eq!(gone.code, Some(1));
    let expected = format!("no answer from {address} (operator.listen)");
    assert!(gone.stderr.contains(&expected), "{}", gone.stderr);
}

#[tokio::test]
async fn service_with_pending_migrations_names_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let here = hello().directory(directory.path());
    let check = || here.clone().arg("migrate").arg("--check").run();
    let careful = here.clone().set("database.migrate_on_start", false);

    let pending = check().await.unwrap();
    let expected = "error: there is no database yet: every migration is pending\n";
    assert_eq!((pending.code, pending.stderr.as_str()), (Some(1), expected));
    let refused = careful.clone().start().await.unwrap().exit().await;
    let names = [
        "database sqlite:data/service.db",
        "run `svc-hello migrate` first",
    ];
    refused.failed(&names);
    let data = directory.path().join("data");
    assert!(!data.exists(), "neither creates a file");

    let migrated = here.clone().arg("migrate").run().await.unwrap();
    assert_eq!(migrated.code, Some(0), "{}", migrated.stderr);
    assert_eq!(check().await.unwrap().code, Some(0));
    let service = careful.ready().await;
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn data_survives_a_restart_in_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let here = hello().directory(directory.path());

    let running = here.clone().ready().await;
    let visit = http::Request::post("/v1/hello/Ada");
    let greeted = http::send(running.http().await, visit.clone())
        .await
        .unwrap();
    assert_eq!(greeted.json()["times"], 1, "{greeted}");
    assert_eq!(running.stop().await.code, Some(0));

    let left: Vec<_> = std::fs::read_dir(directory.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["service.db"], "the write-ahead log was checkpointed");

    let running = here.ready().await;
    let greeted = http::send(running.http().await, visit).await.unwrap();
    assert_eq!(greeted.json()["times"], 2, "{greeted}");
}

#[tokio::test]
async fn operator_lists_and_controls_tasks() {
    let running = hello().ready().await;
    let operator = running.operator().await;
    let order = async |path: &str| {
        let request = http::Request::post(&format!("/api/tasks/{path}"));
        http::send(operator, request).await.unwrap().status
    };
    let task = async || {
        let state = http::get(operator, "/api/state").await.unwrap().json();
        let mut tasks = state["tasks"].as_array().unwrap().iter();
        let task = tasks.find(|task| task["name"] == "health.database");
        task.unwrap().clone()
    };

    assert_eq!(task().await["state"], "running");
    assert_eq!(order("health.database/pause").await, 202);
    running
        .wait_for("the pause", |event| event.field("order") == "Pause")
        .await;
    assert_eq!(order("health.database/resume").await, 202);
    for unknown in ["nobody/pause", "health.database/explode"] {
        assert_eq!(order(unknown).await, 404, "{unknown}");
    }
    assert_eq!(running.stop().await.code, Some(0));
}
