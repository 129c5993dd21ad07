//! A collector behind TLS needs a certificate of a known authority.

use harness::service::Launch;

use crate::collector::Collector;
use crate::{ask, span, traced};

/// A service that exports to this endpoint if it has a certificate of this authority.
fn trusting(endpoint: &str, authority: &str) -> Launch {
    traced(endpoint)
        .file("authority.pem", authority)
        .env("APP__OTLP__AUTHORITIES_FILE", "authority.pem")
}

#[tokio::test]
async fn a_collector_of_a_configured_authority_gets_spans() {
    let collector = Collector::by_tls().await.unwrap();
    let launch = trusting(&collector.endpoint(), &collector.authority);
    let service = launch.ready().await;
    ask(&service, "/guests", true).await;
    span(&collector, "GET /guests").await;
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_collector_of_an_unknown_authority_gets_nothing() {
    let collector = Collector::by_tls().await.unwrap();
    let other = Collector::by_tls().await.unwrap();
    let endpoint = collector.endpoint();
    for launch in [traced(&endpoint), trusting(&endpoint, &other.authority)] {
        let service = launch.ready().await;
        ask(&service, "/guests", true).await;
        let event = service.event("export fails").await;
        let cause = event.field("cause").to_string();
        assert!(cause.contains("certificate"), "{event}");
        assert_eq!(service.stop().await.code, Some(0));
    }
    assert!(collector.heard().bytes.is_empty());
}

#[tokio::test]
async fn malformed_authorities_are_refused_at_the_start() {
    let broken = "-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n";
    for authorities in ["nobody", broken] {
        let launch = trusting("https://localhost:1", authorities);
        let exit = launch.start().await.unwrap().exit().await;
        assert_eq!(exit.code, Some(1), "{exit}");
        let output = exit.to_string();
        let is_named = output.contains("otlp.authorities") && output.contains("PEM");
        assert!(is_named, "{exit}");
    }
}
