//! A collector behind TLS needs a certificate of a known authority.

use crate::collector::Collector;
use crate::{ask, traced};

#[tokio::test]
async fn a_collector_of_a_configured_authority_gets_spans() {
    let collector = Collector::by_tls().await.unwrap();
    let service = traced(&collector.endpoint())
        .file("authority.pem", &collector.authority)
        .env("APP__OTLP__AUTHORITIES_FILE", "authority.pem");
    let service = service.start().await.unwrap().ready().await;
    ask(&service, "/guests", true).await;
    collector
        .span("span", |span| span.name == "GET /guests")
        .await;
    assert_eq!(service.stop().await.code, Some(0));
}

#[tokio::test]
async fn a_collector_of_an_unknown_authority_gets_nothing() {
    let collector = Collector::by_tls().await.unwrap();
    let other = Collector::by_tls().await.unwrap();
    for authority in ["", &other.authority] {
        let mut service = traced(&collector.endpoint());
        if !authority.is_empty() {
            service = service
                .file("authority.pem", authority)
                .env("APP__OTLP__AUTHORITIES_FILE", "authority.pem");
        }
        let service = service.start().await.unwrap().ready().await;
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
        let launch = traced("https://localhost:1")
            .file("authority.pem", authorities)
            .env("APP__OTLP__AUTHORITIES_FILE", "authority.pem");
        let exit = launch.start().await.unwrap().exit().await;
        assert_eq!(exit.code, Some(1), "{exit}");
        let output = exit.to_string();
        let is_named = output.contains("otlp.authorities") && output.contains("PEM");
        assert!(is_named, "{exit}");
    }
}
