//! The stop exports what there is.

use harness::collector::{Collector, value};
use harness::service::Signal;

use crate::{ask, exporting_to};

#[tokio::test]
async fn what_was_in_flight_at_the_signal_is_exported_before_the_end() {
    let collector = Collector::start().await.unwrap();
    let service = exporting_to(&collector).await;
    let (answer, ()) = tokio::join!(ask(&service, "/slow?ms=1000", true), async {
        service.event("slow begun").await;
        service.signal(Signal::TERM);
    });
    assert_eq!(answer.text(), "done");

    let exit = service.exit().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    let heard = collector.heard();
    let names: Vec<_> = heard.spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /slow"]);
    // The last metrics know of it as well.
    let labels = [("method", "GET"), ("route", "/slow"), ("status", "2xx")];
    let duration = heard.metrics.iter();
    let duration = duration.filter(|it| it.name == "http_server_request_duration_seconds");
    let counts: Vec<_> = duration
        .filter_map(|metric| value(metric, &labels))
        .collect();
    assert_eq!(counts, [1.0]);
    assert!(exit.event("spans were lost").is_none(), "{exit}");
}

#[tokio::test]
async fn a_collector_that_is_not_there_does_not_hold_up_the_stop() {
    let collector = Collector::start().await.unwrap();
    let service = exporting_to(&collector).await;
    ask(&service, "/guests", true).await;
    collector.requests(1).await;
    drop(collector);

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < std::time::Duration::from_secs(1), "{exit}");
}
