//! Tasks that run at the times of a schedule, by a wall clock that the test sets.

use std::cell::Cell;
use std::time::SystemTime;

use super::*;
use crate::settings::{Reference, Sources, load};
use crate::supervisor::wall_clock as now;

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

/// A task that takes no time, and records each run by the wall clock.
fn noting(journal: &Journal) -> impl Fn(Context) -> std::future::Ready<()> + Send + Sync + 'static {
    let journal = journal.clone();
    move |_| {
        journal.note(rfc3339(now()));
        std::future::ready(())
    }
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

fn next_run(supervisor: &Supervisor, name: &str) -> String {
    rfc3339(status(supervisor, name).next_run.expect("a run is due"))
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn scheduled_task_runs_at_its_times_in_utc() {
    set_clock("2028-02-28T23:10:20Z");
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let nightly = schedule("0 4 * * *");
    supervisor
        .at("report", &nightly)
        .run(noting(&journal))
        .unwrap();

    sleep(SECOND).await;
    assert_eq!(next_run(&supervisor, "report"), "2028-02-29T04:00:00Z");
    sleep(49 * HOUR).await;

    let moments = ["2028-02-29T04:00:00Z", "2028-03-01T04:00:00Z"];
    assert_eq!(journal.events(), moments);
    assert_eq!(status(&supervisor, "report").runs, 2);
    assert_eq!(next_run(&supervisor, "report"), "2028-03-02T04:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn at_start_adds_one_run_to_a_schedule() {
    set_clock("2026-05-01T03:59:10Z");
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    supervisor
        .at("report", &schedule("0 4 * * *"))
        .at_start()
        .run(noting(&journal))
        .unwrap();

    sleep(HOUR).await;

    assert_eq!(
        journal.events(),
        ["2026-05-01T03:59:10Z", "2026-05-01T04:00:00Z"]
    );
}

#[tokio::test(start_paused = true)]
async fn schedule_skips_missed_runs_and_never_overlaps() {
    set_clock("2026-05-01T12:00:30Z");
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let noted = journal.clone();
    let run = move |_| {
        noted.note(rfc3339(now()));
        sleep(150 * SECOND)
    };
    supervisor
        .at("slow", &schedule("* * * * *"))
        .run(run)
        .unwrap();

    sleep(9 * MINUTE).await;

    assert_eq!(
        journal.events(),
        [
            "2026-05-01T12:01:00Z",
            "2026-05-01T12:04:00Z",
            "2026-05-01T12:07:00Z"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn schedule_supports_jitter_and_timeout() {
    set_clock("2026-05-01T12:00:00Z");
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let noted = journal.clone();
    let run = move |_| {
        noted.note("run");
        std::future::pending::<()>()
    };
    let hourly = schedule("0 * * * *");
    let hourly = supervisor.at("a", &hourly).jitter(30 * MINUTE);
    hourly.timeout(MINUTE).run(run).unwrap();

    sleep(51 * HOUR).await;

    let late = journal.times();
    let late: Vec<_> = late.iter().map(|time| time.as_secs() % 3600).collect();
    assert_eq!(
        late.len(),
        50,
        "one run per hour, although each one times out"
    );
    assert!(late.iter().all(|late| *late <= 30 * 60), "{late:?}");
    assert!(late.iter().any(|late| *late > 5 * 60), "{late:?}");
    let error = status(&supervisor, "a").last_error;
    assert_eq!(error.as_deref(), Some("took longer than 1m"));
}

#[tokio::test(start_paused = true)]
async fn schedule_runs_once_after_the_machine_slept() {
    set_clock("2026-05-01T02:00:00Z");
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    supervisor
        .at("report", &schedule("0 3-5 * * *"))
        .run(noting(&journal))
        .unwrap();
    sleep(30 * MINUTE).await;

    // Tokio's clock stands still while the machine sleeps.
    set_clock("2026-05-01T07:30:00Z");
    sleep(61 * SECOND).await;

    let ran = journal.events();
    assert_eq!(ran.len(), 1, "{ran:?}");
    assert!(ran[0].starts_with("2026-05-01T07:3"), "{ran:?}");
    assert_eq!(next_run(&supervisor, "report"), "2026-05-02T03:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn schedule_neither_hurries_nor_repeats_on_a_corrected_clock() {
    set_clock("2026-05-01T03:30:00Z");
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    supervisor
        .at("report", &schedule("0 4 * * *"))
        .run(noting(&journal))
        .unwrap();
    sleep(29 * MINUTE).await;

    set_clock("2026-05-01T03:20:00Z");
    sleep(39 * MINUTE).await;
    assert!(journal.events().is_empty(), "it is not four yet");
    assert_eq!(next_run(&supervisor, "report"), "2026-05-01T04:00:00Z");
    sleep(2 * MINUTE).await;
    assert_eq!(journal.events(), ["2026-05-01T04:00:00Z"]);

    set_clock("2026-05-01T03:50:00Z");
    sleep(HOUR).await;
    assert_eq!(journal.events().len(), 1, "four has had its run");
    assert_eq!(next_run(&supervisor, "report"), "2026-05-02T04:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn clock_corrected_during_a_run_does_not_repeat_it() {
    set_clock("2026-05-01T03:59:00Z");
    let supervisor = Supervisor::new();
    let journal = Journal::new();
    let noted = journal.clone();
    let run = move |_| {
        noted.note(rfc3339(now()));
        set_clock("2026-05-01T03:50:00Z");
        std::future::ready(())
    };
    let nightly = schedule("0 4 * * *");
    supervisor.at("report", &nightly).run(run).unwrap();

    sleep(HOUR).await;

    assert_eq!(journal.events(), ["2026-05-01T04:00:00Z"]);
    assert_eq!(next_run(&supervisor, "report"), "2026-05-02T04:00:00Z");
}

#[tokio::test(start_paused = true)]
async fn schedule_recovers_from_a_clock_far_off() {
    for wrong in ["1970-01-01T00:00:00Z", "9000-01-01T00:00:00Z"] {
        set_clock(wrong);
        let supervisor = Supervisor::new();
        let journal = Journal::new();
        supervisor
            .at("report", &schedule("0 4 29 2 *"))
            .run(noting(&journal))
            .unwrap();
        sleep(HOUR).await;
        assert!(journal.events().is_empty(), "{wrong}");

        set_clock("2028-02-29T03:00:00Z");
        sleep(2 * HOUR).await;
        let ran = journal.events();
        let last = ran.last().map(String::as_str);
        assert_eq!(last, Some("2028-02-29T04:00:00Z"), "{wrong}");
        supervisor.stop(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn stop_does_not_wait_for_a_schedule() {
    let supervisor = Supervisor::new();
    let yearly = schedule("0 0 1 1 *");
    supervisor.at("report", &yearly).run(idle).unwrap();
    sleep(SECOND).await;

    let began = Instant::now();
    assert!(supervisor.stop(60 * SECOND).await.is_empty());

    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(status(&supervisor, "report").next_run, None);
}

#[tokio::test(start_paused = true)]
async fn zero_interval_lets_other_tasks_run() {
    let supervisor = Supervisor::new();
    let every = supervisor.every("busy", Duration::ZERO);
    every.run(|_| std::future::ready(())).unwrap();

    sleep(SECOND).await;

    assert!(supervisor.stop(SECOND).await.is_empty());
}

#[test]
fn wrong_schedule_is_refused_with_what_is_expected() {
    let error = "0 25 * * *".parse::<Schedule>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"0 25 * * *\" is not a schedule; expected minute, hour, day, month and weekday in UTC, such as \
         `0 4 * * *` (daily at 4:00) or `*/15 * * * MON-FRI`"
    );

    for wrong in [
        "",
        "@daily",
        "0 0 4 * * *",
        "61 4 * * *",
        "*/0 4 * * *",
        "0 MON * * *",
        "0 4 JAN * *",
        "0 4 0 * *",
        "0 4 * MON *",
        "0 4 * * Monday",
        "0 4 * * FRI-MON",
        "0 4 31 2 *",
    ] {
        assert!(wrong.parse::<Schedule>().is_err(), "{wrong:?}");
    }

    for right in [
        "*/15 0-6,22 * jan-MAR mon-fri",
        "0 4 L * *",
        "0 4 29 2 *",
        "0 4 * * FRI#2",
        "0  4 15W * 7",
    ] {
        assert_eq!(schedule(right).to_string(), right);
    }
}

#[test]
fn schedule_is_a_strict_setting() {
    #[derive(Debug, serde::Deserialize, garde::Validate)]
    struct Report {
        #[garde(skip)]
        schedule: Schedule,
    }
    let reference = Reference::new(&["# When to report.\nschedule = \"0 4 * * *\"\n"]);
    let read = |value: &str| {
        let sources = Sources {
            set: vec![format!("schedule={value}")],
            ..Sources::default()
        };
        load::<Report>(&reference, &sources)
    };

    let loaded = read("*/5 * * * *").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.settings.schedule.to_string(), "*/5 * * * *");

    let problems = read("5 past four").unwrap_err().to_string();
    for words in [
        "schedule = \"5 past four\"",
        "expected minute, hour, day, month and weekday in UTC",
    ] {
        assert!(problems.contains(words), "{problems}");
    }
}
