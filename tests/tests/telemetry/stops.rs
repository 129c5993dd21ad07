//! A stop exports the queued spans.

use harness::service::Signal;

use crate::collector::Collector;
use crate::{ask, exporting_to};

#[tokio::test]
async fn a_request_in_flight_at_the_signal_is_exported() {
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
    assert!(exit.event("spans were lost").is_none(), "{exit}");
}

#[tokio::test]
async fn a_collector_that_is_away_does_not_delay_the_stop() {
    let collector = Collector::start().await.unwrap();
    let service = exporting_to(&collector).await;
    ask(&service, "/guests", true).await;
    collector.requests(1).await;
    drop(collector);

    let exit = service.stop().await;

    assert_eq!(exit.code, Some(0), "{exit}");
    assert!(exit.took < std::time::Duration::from_secs(1), "{exit}");
}
