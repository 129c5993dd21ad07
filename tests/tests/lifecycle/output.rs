//! The log is complete when the process has ended, whatever its destination.

use harness::service::Signal;
use serde_json::Value;

use crate::faulty;

/// The file is copied to standard output, so that the test sees it too.
const TO_A_FILE: &str = r#": > log; tail --follow --lines=+1 --pid=$$ log & exec "$0" "$@" >> log"#;

#[tokio::test]
async fn file_gets_every_event_to_the_last() {
    for (second_signal, code, outcome) in [(false, 0, "clean"), (true, 143, "killed")] {
        let directory = tempfile::tempdir().unwrap();
        let service = faulty()
            .set("shutdown.delay", if second_signal { "9s" } else { "0s" })
            .set("shutdown.drain", "1s")
            .directory(directory.path())
            .wrapped_by("sh", ["-c", TO_A_FILE]);
        let service = service.ready().await;
        if second_signal {
            service.signal(Signal::TERM);
            service.event("draining").await;
        }

        let exit = service.stop().await;

        assert_eq!(exit.code, Some(code), "{exit}");
        let text = std::fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(text.ends_with("}\n"), "{text}");
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["message"], "stopped", "{text}");
        assert_eq!(last["outcome"], outcome, "{text}");
    }
}
