//! A shell script stands in for the binary.

use std::{
    any::Any,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use harness::service::{Launch, Service, Signal};

/// Logs `listening` and `ready`, and exits at SIGTERM after it has listed its directory. Its
/// background process ends with it.
const POLITE: &str = r#"
say() { printf '{"level":"INFO","message":"%s"%s}\n' "$1" "$2"; }
trap 'say draining ",\"in\":\"$(ls)\""; say stopped ",\"exit_code\":3"; exit 3' TERM
say listening ',"listener":"operator","address":"127.0.0.1:9"'
say listening ',"listener":"http","address":"127.0.0.1:7"'
say arguments ",\"all\":\"$*\""
say ready
tail --pid=$$ -f /dev/null >/dev/null 2>&1 &
wait
"#;

/// Uses a shell as the binary. The shell reads the script as a file: a file that was just written
/// cannot be executed while another thread forks.
fn script(text: &str) -> Launch {
    Service::of("sh").file("script", text).arg("script")
}

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Returns the message of an expected panic.
async fn panic_of<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> String {
    let panic: Box<dyn Any + Send> = tokio::spawn(task)
        .await
        .err()
        .expect("it must fail")
        .into_panic();
    *panic.downcast::<String>().expect("a message")
}

#[tokio::test]
async fn service_is_awaited_by_events_and_reports_its_end() {
    let service = script(POLITE)
        .arg("serve")
        .set("log.filter", "debug")
        .start()
        .await
        .unwrap();
    assert_eq!(service.http().await, "127.0.0.1:7".parse().unwrap());
    assert_eq!(service.operator().await, "127.0.0.1:9".parse().unwrap());
    let service = service.ready().await;
    assert_eq!(
        service.event("arguments").await.field("all"),
        "serve --set http.listen=127.0.0.1:0 --set log.filter=debug --set log.format=json \
         --set operator.listen=127.0.0.1:0"
    );
    assert!(service.rss() > 0 && service.peak_rss() >= service.rss());
    assert!(service.descriptors().starts_with(&[0, 1, 2]));

    let exit = service.stop().await;

    assert_eq!((exit.code, exit.signal), (Some(3), None), "{exit}");
    assert_eq!(
        exit.event("draining").unwrap().field("in"),
        "script",
        "its directory is gone"
    );
    assert_eq!(exit.event("stopped").unwrap().field("exit_code"), 3);
    assert_eq!(exit.events.len(), 6, "{exit}");
    assert!(
        exit.usage.max_rss > 0 && exit.took < Duration::from_secs(30),
        "{exit}"
    );
}

#[tokio::test]
async fn environment_of_the_developer_does_not_leak_in() {
    let output = Service::of("env")
        .env("APP__LOG__FILTER", "debug")
        .run()
        .await
        .unwrap();
    let mut names: Vec<_> = output
        .stdout
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["APP__LOG__FILTER", "HOME", "PATH"]);
}

#[tokio::test]
async fn command_runs_with_only_the_given_settings() {
    let text = "echo out: \"$@\"; echo err >&2; exit 2";
    let output = script(text).set("a", 1).run().await.unwrap();
    assert_eq!(output.code, Some(2));
    assert_eq!(output.stdout, "out: --set a=1\n");
    assert_eq!(output.stderr, "err\n");
    let error = Service::of("/nowhere/binary").start().await.unwrap_err();
    assert!(format!("{error:#}").contains("cannot start /nowhere/binary: No such file"));
}

#[tokio::test]
async fn waiting_fails_at_once_when_the_process_ends() {
    let text = r#"echo '{"message":"hello","port":1}'; echo gibberish; echo alas >&2; exit 7"#;
    let service = Arc::new(script(text).start().await.unwrap());
    let began = Instant::now();
    let waiting = Arc::clone(&service);
    let failure = panic_of(async move { waiting.event("ready").await }).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "the wait did not end with the process"
    );
    for part in [
        file!(),
        "waited for the event `ready`, but the process has exited with code 7",
        "hello port=1",
        "(not JSON) gibberish",
        "(stderr) alas",
    ] {
        assert!(failure.contains(part), "{part} is not in: {failure}");
    }
    assert_eq!(service.log().strays(), ["gibberish"]);
    assert_eq!(service.log().stderr(), "alas\n");
    assert!(
        !service.signal(Signal::TERM),
        "a signal was sent to a reused process id"
    );
    let service = Arc::into_inner(service).unwrap();
    assert_eq!(service.exit().await.code, Some(7));
}

#[tokio::test]
async fn missing_event_is_named_at_the_deadline() {
    let service = script(POLITE)
        .patience(Duration::from_secs(1))
        .start()
        .await
        .unwrap();
    let failure = panic_of(async move {
        service
            .wait_for("a miracle", |event| event.message == "miracle")
            .await
    })
    .await;
    for part in [
        "waited for a miracle, but it did not come within 1s",
        "still runs",
        ": ready",
    ] {
        assert!(failure.contains(part), "{part} is not in: {failure}");
    }
}

#[tokio::test]
async fn stuck_or_dropped_process_is_killed() {
    let service = script(POLITE)
        .patience(Duration::from_millis(500))
        .start()
        .await
        .unwrap();
    let pid = service.pid();
    let failure = panic_of(service.exit()).await;
    assert!(
        failure.contains("did not end within 1s, and is killed"),
        "{failure}"
    );
    assert!(!exists(pid));

    let service = script(POLITE).start().await.unwrap().ready().await;
    let (pid, directory) = (service.pid(), service.directory().to_owned());
    assert!(exists(pid) && directory.join("script").exists());
    drop(service);
    assert!(!exists(pid) && !directory.exists());
}

#[tokio::test]
async fn killed_process_reports_its_signal() {
    let directory = tempfile::tempdir().unwrap();
    let launch = script("echo x >> runs; kill -9 $$").directory(directory.path());
    for _ in 0..2 {
        let exit = launch.clone().start().await.unwrap().exit().await;
        assert_eq!((exit.code, exit.signal), (None, Some(9)), "{exit}");
    }
    assert_eq!(
        fs::read_to_string(directory.path().join("runs")).unwrap(),
        "x\nx\n"
    );
}
