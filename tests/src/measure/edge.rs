//! Compares the machinery between a socket and a handler with other servers of the same two routes:
//! hyper alone, axum alone, and axum with the layers that most services have. All are built
//! together, with the same profile and allocator, and run on one thread each, with their logs in
//! files.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::judged;
use super::stage::{Contender, HELLO, JSON, Route, Stage};

const ROUNDS: usize = 40;
const TURN: Duration = Duration::from_millis(100);

/// The compared servers. axum is there twice: the difference between the two is noise.
const CONTENDERS: [(&str, Contender); 6] = [
    ("hyper alone", Contender::Other("hyper")),
    ("axum alone", Contender::Other("axum")),
    ("the service", Contender::Ours),
    ("axum as usual", Contender::Other("usual")),
    ("the same without `TraceLayer`", Contender::Other("lean")),
    ("axum again", Contender::Other("axum")),
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
        let counts = CONTENDERS[..5]
            .iter()
            .map(|(_, it)| stage.count(*it, route));
        let counts: Vec<_> = counts.collect::<Result<_>>()?;
        let axum = &counts[1];
        writeln!(
            page,
            "\n{}:\n\n\
             | | requests a second | of axum alone | CPU of all threads | instructions | allocations | system calls |\n\
             |---|---|---|---|---|---|---|",
            route.name
        )?;
        for (((name, contender), rate), counts) in CONTENDERS.iter().zip(&rates).zip(&counts) {
            let [low, middle, high] = rate.ratio;
            let [instructions, allocations, calls] =
                [counts.instructions, counts.allocations, counts.calls];
            let judged = |figure, holds| match contender {
                Contender::Ours => judged(figure, holds),
                Contender::Other(_) => figure,
            };
            let ratio = format!("{middle:.2} ({low:.2} to {high:.2})");
            let figures = [
                format!("{:.0}", rate.each_second),
                judged(ratio, middle >= least),
                format!("{:.1} µs", rate.cost),
                judged(
                    format!("{instructions:.0}"),
                    instructions <= 1.7 * axum.instructions,
                ),
                // An allocation for a hundred requests counts as a hundredth for each.
                judged(
                    format!("{allocations:.1}"),
                    allocations < 3.1 + axum.allocations,
                ),
                // The log's thread makes the additional calls, a few for many lines.
                judged(format!("{calls:.2}"), calls < 1.0 + axum.calls),
            ];
            writeln!(page, "| {name} | {} |", figures.join(" | "))?;
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
        .map(|(_, contender)| stage.start(*contender, &[]))
        .collect::<Result<_>>()?;
    let mut turns = vec![Vec::new(); running.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for which in (0..running.len()).chain((0..running.len()).rev()) {
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
    // Both turns of a round.
    let sum = |turns: &[(f64, f64)]| turns.iter().map(|(rate, _)| rate).sum::<f64>();
    let rates = turns.iter().map(|of_one| {
        let rounds = of_one.chunks(2).zip(turns[1].chunks(2));
        Rate {
            each_second: quartiles(of_one.iter().map(|(rate, _)| *rate).collect())[1],
            ratio: quartiles(rounds.map(|(it, axum)| sum(it) / sum(axum)).collect()),
            cost: 1e6 * quartiles(of_one.iter().map(|(_, cost)| *cost).collect())[1],
        }
    });
    Ok(rates.collect())
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
