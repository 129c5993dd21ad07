//! Tasks that run at the times of a schedule, by a wall clock that the test sets.

use std::cell::Cell;
use std::time::SystemTime;

use super::*;
use crate::supervisor::periodic::wall_clock as now;

thread_local! {
    static CLOCK: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// The wall clock of this thread, which runs one test and all of its tasks. It advances with tokio's.
pub(in crate::supervisor) fn wall_clock() -> Option<SystemTime> {
    CLOCK.get().map(|(at, time)| time + at.elapsed())
}

fn set_clock(time: &str) {
    let time = humantime::parse_rfc3339(time).expect("a time in UTC");
    CLOCK.set(Some((Instant::now(), time)));
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A task with this schedule, and the wall clock at each of its runs, which then call `then`.
fn scheduled(schedule: &str, then: fn()) -> (Supervisor, Journal) {
    let (supervisor, journal) = (Supervisor::new(), Journal::default());
    let noted = journal.clone();
    let run = move |_| {
        noted.note(rfc3339(now()));
        then();
        ready(())
    };
    let report = supervisor.at("report", schedule.parse().unwrap());
    report.run(run).unwrap();
    (supervisor, journal)
}

fn next_run(supervisor: &Supervisor) -> String {
    let status = status(supervisor, "report");
    rfc3339(status.next_run.expect("a run is due"))
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn scheduled_task_runs_at_its_times_in_utc() {
    set_clock("2028-02-28T23:10:20Z");
    let (supervisor, journal) = scheduled("0 4 * * *", || {});

    sleep(SECOND).await;
    assert_eq!(next_run(&supervisor), "2028-02-29T04:00:00Z");
    sleep(49 * HOUR).await;

    let times = ["2028-02-29T04:00:00Z", "2028-03-01T04:00:00Z"];
    assert_eq!(journal.events(), times);
    assert_eq!(status(&supervisor, "report").runs, 2);
    assert_eq!(next_run(&supervisor), "2028-03-02T04:00:00Z");

    let (left, took) = timed_stop(&supervisor, MINUTE).await;
    assert!(left.is_empty() && took < SECOND, "{left:?}, {took:?}");
    assert_eq!(status(&supervisor, "report").next_run, None);
}

#[tokio::test(start_paused = true)]
async fn schedule_runs_once_after_the_machine_slept() {
    set_clock("2026-05-01T02:00:00Z");
    let (supervisor, journal) = scheduled("0 3-5 * * *", || {});
    sleep(30 * MINUTE).await;

    // Tokio's clock stands still while the machine sleeps.
    set_clock("2026-05-01T07:30:00Z");
    sleep(61 * SECOND).await;

    let ran = journal.events();
    assert_eq!(ran.len(), 1, "{ran:?}");
    assert!(ran[0].starts_with("2026-05-01T07:3"), "{ran:?}");
    assert_eq!(next_run(&supervisor), "2026-05-02T03:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn schedule_neither_hurries_nor_repeats_on_a_corrected_clock() {
    set_clock("2026-05-01T03:30:00Z");
    let set_back = || set_clock("2026-05-01T03:50:00Z");
    let (supervisor, journal) = scheduled("0 4 * * *", set_back);
    sleep(29 * MINUTE).await;

    set_clock("2026-05-01T03:20:00Z");
    sleep(39 * MINUTE).await;
    assert!(journal.events().is_empty(), "it is not four yet");
    assert_eq!(next_run(&supervisor), "2026-05-01T04:00:00Z");
    sleep(2 * MINUTE).await;
    assert_eq!(journal.events(), ["2026-05-01T04:00:00Z"]);

    sleep(HOUR).await;
    assert_eq!(journal.events().len(), 1, "four has had its run");
    assert_eq!(next_run(&supervisor), "2026-05-02T04:00:00Z");
}
