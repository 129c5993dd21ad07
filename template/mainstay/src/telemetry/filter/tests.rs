//! What is in force, when it is over, and what it says of others.

use tokio::time::{advance, sleep};

use super::*;
use crate::telemetry::page::under;

fn filter(text: &str) -> Filter {
    Filter::written(text).unwrap()
}

const MINUTE: Duration = Duration::from_mins(1);

/// What is filtered by, as the layer has it and as it is shown.
#[track_caller]
fn assert_in_force(filtering: &Filtering, expected: &str, reverts_in: Option<u64>) {
    let shown = filtering.in_force();
    assert_eq!(
        (&shown.filter.0, shown.reverts_in),
        (&expected.to_owned(), reverts_in)
    );
    let real = filtering.0.handle.with_current(|it| format!("{it:?}"));
    assert_eq!(real.unwrap(), format!("{:?}", filter(expected).rules()));
}

/// Does this while the time is kept, as the operator's thread does.
async fn while_time_is_kept(filtering: &Filtering, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = filtering.clone().revert_in_time() => {}
        () = work => {}
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_wants_is_over_after_its_time() {
    let (_layer, filtering) = Filtering::by(&filter("info"));
    assert_in_force(&filtering, "info", None);

    while_time_is_kept(&filtering, async {
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
    let (_layer, filtering) = Filtering::by(&filter("info"));

    while_time_is_kept(&filtering, async {
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
async fn new_settings_end_what_the_operator_wanted() {
    let (_layer, filtering) = Filtering::by(&filter("info"));

    while_time_is_kept(&filtering, async {
        filtering.change_for(MINUTE, &filter("debug"));
        sleep(MINUTE / 2).await;
        filtering.configure(&filter("warn"));
        assert_in_force(&filtering, "warn", None);

        sleep(2 * MINUTE).await;

        assert_in_force(&filtering, "warn", None);
        assert_eq!(filtering.in_force().configured, filter("warn"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_time_does_not_end_a_later_wish() {
    let (_layer, filtering) = Filtering::by(&filter("info"));
    filtering.change_for(MINUTE, &filter("debug"));
    let first = filtering.0.state.borrow().ends().unwrap();
    advance(MINUTE).await;
    filtering.change_for(MINUTE, &filter("trace"));

    // It comes late: somebody was quicker.
    filtering.revert(first);

    assert_in_force(&filtering, "trace", Some(60));
}

/// Of these targets, those whose events of this level are logged, inside of a span called `request`.
macro_rules! logged {
    ($filter:expr, $level:ident, [$($target:literal),*]) => {{
        let (layer, _filtering) = Filtering::by(&filter($filter));
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
fn what_quotes_others_is_logged_only_by_its_name() {
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
    // What they say otherwise is for everybody, as the filter has it.
    for (filter, expected) in [("info", &["h2::server"] as &[_]), ("warn", &[])] {
        assert_eq!(logged!(filter, INFO, ["h2::server"]), expected, "{filter}");
    }
}
