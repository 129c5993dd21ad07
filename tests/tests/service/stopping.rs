//! A stop ends by its deadline, whatever clients do, and reports what it abandoned.

use std::time::Duration;

use harness::http::get;
use harness::service::Signal;

use crate::hello;

#[tokio::test]
async fn idle_service_stops_at_once_on_either_signal() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let running = hello().start().await.unwrap().ready().await;
        get(running.http().await, "/livez").await.unwrap();

        running.signal(signal);

        let exit = running.exit().await;
        assert_eq!(exit.code, Some(0), "{exit}");
        assert!(exit.took < Duration::from_secs(1), "took {:?}", exit.took);
        assert_eq!(exit.event("draining").unwrap().field("signal"), name);
        let stopped = exit.events.last().unwrap();
        assert_eq!(
            (stopped.message.as_str(), stopped.field("outcome")),
            ("stopped", &"clean".into())
        );
        assert!(stopped.field("abandoned").is_null(), "{stopped:?}");
    }
}

#[tokio::test]
async fn log_lines_are_events_with_time_level_and_target() {
    let running = hello().start().await.unwrap().ready().await;
    get(running.http().await, "/v1/nothing%0a%22%1b")
        .await
        .unwrap();
    let log = running.log().clone();
    let exit = running.stop().await;

    assert_eq!(log.strays(), Vec::<String>::new());
    for event in &exit.events {
        assert!(event.timestamp.ends_with('Z'), "{event:?}");
        assert!(
            ["INFO", "WARN", "ERROR"].contains(&event.level.as_str()),
            "{event:?}"
        );
        assert!(
            !event.target.is_empty() && !event.message.is_empty(),
            "{event:?}"
        );
    }
}
