//! Compares the machinery between a socket and a handler with other servers of the same two routes:
//! hyper alone, axum alone, and axum with the layers that most services have. All are built
//! together, with the same profile and allocator, and run on one thread each, with their logs in
//! files.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::judged;
use super::stage::{Contender, Counts, HELLO, JSON, Route, Stage};

const ROUNDS: usize = 40;
const TURN: Duration = Duration::from_millis(100);

/// The compared servers. axum is there twice: the difference between the two is noise.
const CONTENDERS: [Contender; 6] = [
    Contender::Other("hyper"),
    AXUM,
    Contender::Ours,
    Contender::Other("usual"),
    Contender::Other("lean"),
    AXUM,
];
const AXUM: Contender = Contender::Other("axum");
const NAMES: [&str; 5] = [
    "hyper alone",
    "axum alone",
    "the service",
    "axum as usual",
    "the same without `TraceLayer`",
];

/// The minimum rate of the service, relative to axum alone.
const RATES: [(&Route, f64); 2] = [(&HELLO, 0.78), (&JSON, 0.72)];

/// The section of docs/performance.md.
pub(super) fn section(stage: &Stage) -> Result<String> {
    let mut page = String::from(
        "\n## The edge\n\n\
         The cost of a request in the service, compared with hyper alone, axum alone, and axum \
         with the usual layers. The service adds to each route: a request id, a log event, \
         metrics, OWASP headers, panic handling, a host check, and limits on concurrency, time \
         and bodies. The usual layers are tower-http's `TraceLayer` with `fmt().json()` through \
         tracing-appender, request ids, a timeout, panic handling, and metrics as in axum's \
         example. The last row has one event for each request instead of `TraceLayer`. The \
         server has one thread, and the client uses 32 connections. Logs go to files. Aims: at \
         least 0.78 of axum's rate (0.72 with JSON), at most 1.7 times axum's instructions, at \
         most 3 more allocations, and no more system calls except for the log.\n",
    );
    for (route, least) in RATES {
        let rates = race(stage, route)?;
        let counts = [0, 1, 2, 3, 4].map(|which| stage.count(CONTENDERS[which], route));
        let counts: Vec<_> = counts.into_iter().collect::<Result<_>>()?;
        let axum = &counts[1];
        writeln!(
            page,
            "\n{}:\n\n\
             | | requests a second | of axum alone | CPU of all threads | instructions | allocations | system calls |\n\
             |---|---|---|---|---|---|---|",
            route.name
        )?;
        for ((name, rate), counts) in NAMES.iter().zip(&rates).zip(&counts) {
            let Counts {
                instructions,
                allocations,
                calls,
            } = counts;
            let Rate {
                each_second,
                ratio,
                cost,
            } = rate;
            let [low, middle, high] = ratio;
            let is_aimed = *name == "the service";
            let aim = |figure: String, holds: bool| judged(&figure, holds || !is_aimed);
            writeln!(
                page,
                "| {name} | {each_second:.0} | {} | {cost:.1} µs | {} | {} | {} |",
                aim(
                    format!("{middle:.2} ({low:.2} to {high:.2})"),
                    *middle >= least
                ),
                aim(
                    format!("{instructions:.0}"),
                    *instructions <= 1.7 * axum.instructions
                ),
                // An allocation for a hundred requests counts as a hundredth for each.
                aim(
                    format!("{allocations:.1}"),
                    *allocations < 3.1 + axum.allocations
                ),
                // The log's thread makes the additional calls, a few for many lines.
                aim(format!("{calls:.2}"), *calls < 1.0 + axum.calls),
            )?;
        }
        let [low, _, high] = rates[5].ratio;
        writeln!(
            page,
            "\naxum compared with itself: {low:.2} to {high:.2} (the middle half of the rounds, as above)."
        )?;
    }
    page.push_str(
        "\nCallgrind counts the instructions and DHAT the allocations, of all threads, for one \
         request at a time. Strace counts the system calls, with 32 connections; the log thread \
         then writes several lines with each call.\n",
    );
    Ok(page)
}

/// The result of a race: medians and quartiles over the rounds.
struct Rate {
    each_second: f64,
    ratio: [f64; 3],
    /// CPU time of all threads, in microseconds.
    cost: f64,
}

/// Runs all servers in turns, alternating the order.
fn race(stage: &Stage, route: &'static Route) -> Result<Vec<Rate>> {
    let running: Vec<_> = CONTENDERS
        .iter()
        .map(|contender| stage.start(*contender, &[]))
        .collect::<Result<_>>()?;
    let order = 0..running.len();
    let mut turns = vec![Vec::new(); running.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for which in order.clone().chain(order.clone().rev()) {
            let contender = &running[which];
            let before = contender.used()?;
            let began = Instant::now();
            let answers = stage.answers(contender, route, TURN)?;
            let seconds = began.elapsed().as_secs_f64();
            let used = contender.used()?.saturating_sub(before).as_secs_f64();
            if round > 0 {
                turns[which].push((answers / seconds, used / answers));
            }
        }
    }
    let sums = |turns: &[(f64, f64)]| -> Vec<f64> {
        let rounds = turns.chunks(2);
        rounds
            .map(|round| round.iter().map(|(rate, _)| rate).sum())
            .collect()
    };
    let axum = sums(&turns[1]);
    let rates = turns.iter().map(|turns| {
        let of_axum = sums(turns)
            .iter()
            .zip(&axum)
            .map(|(it, axum)| it / axum)
            .collect();
        Rate {
            each_second: quartiles(turns.iter().map(|(rate, _)| *rate).collect())[1],
            ratio: quartiles(of_axum),
            cost: 1e6 * quartiles(turns.iter().map(|(_, cost)| *cost).collect())[1],
        }
    });
    Ok(rates.collect())
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
