//! The harness itself, where a mistake would make other tests pass or disturb them: a wait ends with
//! its process, no process is left behind, and the proxy holds what it is given.
//!
//! A shell script stands in for the binary.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::proxy::Proxy;
use harness::service::{Launch, Service, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Logs `ready`, and runs until it is killed. Its background process ends with it.
const ENDLESS: &str = r#"
echo '{"message":"ready"}'
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
    let panic = tokio::spawn(task).await.err().expect("it must fail");
    let message = panic.into_panic().downcast::<String>();
    *message.expect("a message")
}

#[tokio::test]
async fn environment_of_the_developer_does_not_leak_in() {
    let output = Service::of("env")
        .env("APP__LOG__FILTER", "debug")
        .run()
        .await
        .unwrap();
    let names = output.stdout.lines();
    let mut names: Vec<_> = names.filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["APP__LOG__FILTER", "HOME", "PATH"]);
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
        "no end of the wait"
    );
    for part in [
        file!(),
        "waited for the event `ready`, but the process has ended: exit status: 7",
        "hello port=1",
        "(not JSON) gibberish",
        "(stderr) alas",
    ] {
        assert!(failure.contains(part), "{part} is not in: {failure}");
    }
    assert_eq!(service.log().strays(), ["gibberish"]);
    assert_eq!(service.log().stderr(), "alas\n");
    // Not to another process, which may have the same id.
    assert!(!service.signal(Signal::TERM));
    let service = Arc::into_inner(service).unwrap();
    assert_eq!(service.exit().await.code, Some(7));
}

#[tokio::test]
async fn stuck_or_dropped_process_is_killed() {
    let service = script(ENDLESS)
        .timeout(Duration::from_millis(500))
        .start()
        .await
        .unwrap();
    let pid = service.pid();
    let failure = panic_of(service.exit()).await;
    let is_named = failure.contains("did not end within 1s, and is killed");
    assert!(is_named, "{failure}");
    assert!(!exists(pid));

    let service = script(ENDLESS).start().await.unwrap().ready().await;
    let (pid, directory) = (service.pid(), service.directory().to_owned());
    assert!(exists(pid) && directory.join("script").exists());
    drop(service);
    assert!(!exists(pid) && !directory.exists());
}

#[tokio::test]
async fn black_hole_holds_bytes_until_it_is_healed() {
    const PATIENCE: Duration = Duration::from_secs(30);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    proxy.black_hole();
    client.write_all(b"held").await.unwrap();
    server.write_all(b"back").await.unwrap();
    server.shutdown().await.unwrap();
    for stream in [&mut client, &mut server] {
        let nothing = timeout(Duration::from_millis(100), stream.read(&mut [0])).await;
        assert!(nothing.is_err(), "{nothing:?}");
    }

    proxy.heal();

    for (stream, expected) in [(&mut server, b"held"), (&mut client, b"back")] {
        let mut got = [0; 4];
        let read = timeout(PATIENCE, stream.read_exact(&mut got)).await;
        read.unwrap().unwrap();
        assert_eq!(&got, expected);
    }
    let end = timeout(PATIENCE, client.read(&mut [0])).await;
    assert_eq!(end.unwrap().unwrap(), 0);
}
