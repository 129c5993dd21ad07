//! A real server, thrown away in every way there is.

use std::{fs, path::Path};

use harness::{
    postgres::{Postgres, Stop},
    service::Service,
};

/// The processes that work within a directory, also one that is already removed.
fn processes_in(directory: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let works_in = fs::read_link(path.join("cwd")).ok()?;
        works_in
            .starts_with(directory)
            .then(|| path.display().to_string())
    });
    processes.collect()
}

#[tokio::test]
async fn postgres_comes_back_with_its_data_and_leaves_nothing_behind() {
    let mut postgres = Postgres::options().durable().start().await.unwrap();
    postgres.create_database("shop").await.unwrap();
    postgres
        .query("shop", "CREATE TABLE t (a int, b text)")
        .await
        .unwrap();
    postgres
        .query("shop", "INSERT INTO t VALUES (1, 'x'), (2, NULL)")
        .await
        .unwrap();
    let port = postgres.port();

    postgres.stop(Stop::Immediate).await.unwrap();
    assert!(postgres.query("shop", "SELECT 1").await.is_err());
    postgres.restart().await.unwrap();
    postgres.restart().await.unwrap();
    assert_eq!(postgres.port(), port);
    assert_eq!(
        postgres
            .query("shop", "SELECT * FROM t ORDER BY a")
            .await
            .unwrap(),
        "1|x\n2|"
    );
    let error = postgres.query("shop", "SELECT nonsense").await.unwrap_err();
    assert!(
        format!("{error:#}").contains("column \"nonsense\" does not exist"),
        "{error:#}"
    );

    let directory = postgres.directory().to_owned();
    assert!(!processes_in(&directory).is_empty());
    drop(postgres);
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    assert!(!directory.exists());
}

#[tokio::test]
async fn a_killed_postgres_recovers_and_leaves_nothing_behind_either() {
    let mut postgres = Postgres::options().durable().start().await.unwrap();
    postgres
        .query("postgres", "CREATE TABLE t AS SELECT 42 AS a")
        .await
        .unwrap();
    postgres.kill().await.unwrap();
    postgres.restart().await.unwrap();
    assert_eq!(postgres.query("postgres", "TABLE t").await.unwrap(), "42");

    let (pid, directory) = (
        postgres.pid().unwrap().to_string(),
        postgres.directory().to_owned(),
    );
    postgres.kill().await.unwrap();
    drop(postgres);
    assert_eq!(processes_in(&directory), Vec::<String>::new());
    assert!(!directory.exists());
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let left = segments
        .lines()
        .filter(|line| line.split_whitespace().nth(4) == Some(&pid));
    assert_eq!(left.count(), 0, "{segments}");
}

#[tokio::test]
async fn two_postgres_run_at_once_each_with_its_own_rules() {
    let secretive = Postgres::options()
        .password("a b/ü")
        .set("max_connections", 7)
        .start();
    let (open, secretive) = tokio::join!(Postgres::start(), secretive);
    let (open, secretive) = (open.unwrap(), secretive.unwrap());
    assert_ne!(open.port(), secretive.port());
    assert_eq!(open.query("postgres", "SHOW fsync").await.unwrap(), "off");
    assert_eq!(
        secretive
            .query("postgres", "SHOW max_connections")
            .await
            .unwrap(),
        "7"
    );

    // As the service would connect: by the URL alone.
    let connect = async |url: &str| {
        let select = ["-At", "-c", "SELECT 1"];
        let psql = select
            .iter()
            .fold(Service::of("psql").arg(url), |psql, option| {
                psql.arg(*option)
            });
        psql.env("PGPASSFILE", "/dev/null")
            .arg("-w")
            .run()
            .await
            .unwrap()
    };
    assert_eq!(connect(&open.url("postgres")).await.stdout, "1\n");
    let answer = connect(&secretive.url("postgres")).await;
    assert_eq!(answer.stdout, "1\n", "{answer:?}");
    let stranger = secretive.url("postgres").replace(":a%20b", ":b");
    assert_eq!(connect(&stranger).await.code, Some(2));
}
