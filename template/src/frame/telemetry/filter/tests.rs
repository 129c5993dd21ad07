//! What is in force, and when it is over.

use tokio::time::{advance, sleep};

use super::*;

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
    let real = filtering.0.handle.with_current(ToString::to_string);
    assert_eq!(real.unwrap(), expected);
}

/// Does this while the time is kept, as the operator's thread does.
async fn while_time_is_kept(filtering: &Filtering, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = filtering.clone().keep_time() => {}
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
async fn a_second_wish_takes_the_place_of_the_first_and_has_its_own_time() {
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
