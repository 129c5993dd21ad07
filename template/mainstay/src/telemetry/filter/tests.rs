//! The filter in force, its expiry, and the targets that quote clients.

use tokio::time::{advance, sleep};

use super::*;
use crate::telemetry::tests::under;

fn filter(text: &str) -> Filter {
    Filter::written(text).unwrap()
}

const MINUTE: Duration = Duration::from_mins(1);

/// Compares the filter in force, as the layer has it and as it is shown.
#[track_caller]
fn assert_in_force(filtering: &Filtering, expected: &str, reverts_in: Option<u64>) {
    let shown = filtering.in_force();
    assert_eq!(
        (&shown.filter.0, shown.reverts_in),
        (&expected.to_owned(), reverts_in)
    );
    let real = filtering.handle.with_current(|it| format!("{it:?}"));
    assert_eq!(real.unwrap(), format!("{:?}", filter(expected).layer()));
}

/// Runs `work` while overrides expire, as on the operator's thread.
async fn while_overrides_expire(filtering: &Filtering, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = filtering.clone().revert_in_time() => {}
        () = work => {}
    }
}

#[tokio::test(start_paused = true)]
async fn override_expires_after_its_time() {
    let (_layer, filtering) = Filtering::new(&filter("info"));
    assert_in_force(&filtering, "info", None);

    while_overrides_expire(&filtering, async {
        filtering.change_for(10 * MINUTE, &filter("debug"));
        assert_in_force(&filtering, "debug", Some(600));
        sleep(Duration::from_millis(599_999)).await;
        assert_in_force(&filtering, "debug", Some(1));

        sleep(Duration::from_millis(2)).await;

        assert_in_force(&filtering, "info", None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn second_override_replaces_the_first_and_its_expiry() {
    let (_layer, filtering) = Filtering::new(&filter("info"));

    while_overrides_expire(&filtering, async {
        filtering.change_for(MINUTE, &filter("debug"));
        sleep(MINUTE / 2).await;
        filtering.change_for(2 * MINUTE, &filter("trace"));
        sleep(MINUTE).await;
        assert_in_force(&filtering, "trace", Some(60));

        sleep(MINUTE + Duration::from_millis(1)).await;

        assert_in_force(&filtering, "info", None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn expiry_of_an_override_leaves_a_later_one() {
    let (_layer, filtering) = Filtering::new(&filter("info"));
    filtering.change_for(MINUTE, &filter("debug"));
    advance(MINUTE).await;
    filtering.change_for(MINUTE, &filter("trace"));

    // The first override expires late, after the second began.
    filtering.revert();

    assert_in_force(&filtering, "trace", Some(60));
}

/// The targets whose events of this level are logged, inside of a span called `request`.
macro_rules! logged {
    ($filter:expr, $level:ident, [$($target:literal),*]) => {{
        let (layer, _filtering) = Filtering::new(&filter($filter));
        let mut logged = Vec::new();
        under(layer, || {
            let request = tracing::info_span!("request");
            let _inside = request.enter();
            $(if tracing::enabled!(target: $target, Level::$level) {
                logged.push($target);
            })*
        });
        logged
    }};
}

#[test]
fn targets_that_quote_clients_are_logged_only_by_name() {
    for (filter, expected) in [
        ("trace", &["h2x", "sqlx"] as &[_]),
        ("info", &[]),
        ("debug,[request]=trace", &["h2x", "sqlx"]),
        ("debug,h=trace", &["h2x", "sqlx"]),
        ("debug,h2=debug", &["h2::server", "h2x", "sqlx"]),
        ("debug,h2::server=debug", &["h2::server", "h2x", "sqlx"]),
        ("debug,h2::codec=debug", &["h2x", "sqlx"]),
        ("debug,hyper=debug", &["hyper::proto", "h2x", "sqlx"]),
        ("info,hyper_util=trace", &["hyper_util::client"]),
        ("debug,h2[request]=debug", &["h2::server", "h2x", "sqlx"]),
    ] {
        let logged = logged!(
            filter,
            DEBUG,
            [
                "h2::server",
                "hyper::proto",
                "hyper_util::client",
                "h2x",
                "sqlx"
            ]
        );
        assert_eq!(logged, expected, "{filter}");
    }
    // Other events of these targets obey the filter.
    for (filter, expected) in [("info", &["h2::server"] as &[_]), ("warn", &[])] {
        assert_eq!(logged!(filter, INFO, ["h2::server"]), expected, "{filter}");
    }
}
