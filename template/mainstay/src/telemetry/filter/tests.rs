//! The filter in force, its expiry, and the targets that quote clients.

use std::pin::pin;

use tokio::time::timeout;

use super::*;
use crate::tests::under;

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

const MINUTE: Duration = Duration::from_mins(1);

/// Compares the filter in force, as the layer has it and as it is shown.
#[track_caller]
fn assert_in_force(handle: &FilterHandle, expected: &str, reverts_in: Option<u64>) {
    let shown = serde_json::to_value(handle.state()).unwrap();
    assert_eq!(shown["filter"], expected);
    assert_eq!(shown["reverts_in"], serde_json::json!(reverts_in));
    let real = handle.reload.clone_current();
    assert_eq!(real.unwrap(), filter(expected).targets);
}

#[tokio::test(start_paused = true)]
async fn override_expires_after_its_time() {
    let (_layer, handle) = FilterHandle::new(&filter("info"));
    assert_in_force(&handle, "info", None);
    let mut expiry = pin!(handle.clone().revert_expired());
    _ = timeout(MINUTE, expiry.as_mut()).await;

    handle.set_for(MINUTE, &filter("debug"));
    assert_in_force(&handle, "debug", Some(60));
    _ = timeout(MINUTE / 2, expiry.as_mut()).await;

    // A second override replaces the first one and its time.
    handle.set_for(2 * MINUTE, &filter("trace"));
    _ = timeout(Duration::from_millis(119_500), expiry.as_mut()).await;
    assert_in_force(&handle, "trace", Some(1));
    _ = timeout(Duration::from_millis(1_500), expiry).await;
    assert_in_force(&handle, "info", None);
}

/// The targets whose events of this level are logged.
macro_rules! logged {
    ($filter:expr, $level:ident, [$($target:literal),*]) => {{
        let (layer, _handle) = FilterHandle::new(&filter($filter));
        let mut logged = Vec::new();
        under(layer, || {
            $(if tracing::enabled!(target: $target, Level::$level) {
                logged.push($target);
            })*
        });
        logged
    }};
}

#[test]
fn text_that_is_no_filter_is_refused() {
    for refused in [
        "",
        "info,",
        "inof",
        "info,sqlx",
        "sqlx=",
        "sqlx=inof",
        "[request]=trace",
        "debug,h2[request]=debug",
        "h2[{path=x}]=debug",
    ] {
        assert_eq!(Filter::parse(refused), None, "{refused}");
    }
}

#[test]
fn targets_that_quote_clients_are_logged_only_by_name() {
    for (filter, expected) in [
        ("trace", &["sqlx"] as &[_]),
        ("info", &[]),
        ("debug,h=trace", &["sqlx"]),
        ("debug,h2=debug", &["h2::server", "sqlx"]),
        ("debug,h2::server=debug", &["h2::server", "sqlx"]),
        ("debug,h2::codec=debug", &["sqlx"]),
        ("debug,hyper=debug", &["hyper::proto", "sqlx"]),
        ("info,hyper_util=trace", &["hyper_util::client"]),
        (" debug , h2 = trace ", &["h2::server", "sqlx"]),
    ] {
        let logged = logged!(
            filter,
            DEBUG,
            ["h2::server", "hyper::proto", "hyper_util::client", "sqlx"]
        );
        assert_eq!(logged, expected, "{filter}");
    }
    // Other events of these targets obey the filter.
    for (filter, expected) in [("info", &["h2::server"] as &[_]), ("warn", &[])] {
        assert_eq!(logged!(filter, INFO, ["h2::server"]), expected, "{filter}");
    }
}
