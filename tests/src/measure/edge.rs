//! Compares the machinery between a socket and a handler with other servers of the same two routes:
//! axum alone, and axum with the layers that most services have. All are built together, with the
//! same profile and allocator.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::servers::{HELLO, JSON, Route, Server, Stage, float};

const ROUNDS: usize = 80;
const TURN: Duration = Duration::from_millis(100);

/// axum is there twice: the difference between the two is noise.
const SERVERS: [(&str, Server); 5] = [
    ("axum alone", Some("axum")),
    ("the service", None),
    ("axum as usual", Some("usual")),
    ("the same without `TraceLayer`", Some("lean")),
    ("axum again", Some("axum")),
];

/// Prints a table for each route.
pub(super) fn measure() -> Result<()> {
    let stage = Stage::build()?;
    for route in [&HELLO, &JSON] {
        println!(
            "\n{}:\n\n\
             | | requests a second | of axum alone | CPU of all threads | instructions | allocations |\n\
             |---|---|---|---|---|---|",
            route.name
        );
        for ((name, server), rate) in SERVERS.iter().zip(race(&stage, route)?) {
            let instructions = stage.instructions(*server, route)?;
            let allocations = stage.allocations(*server, route)?;
            let Rate {
                each_second,
                cost,
                ratio: [low, middle, high],
            } = rate;
            println!(
                "| {name} | {each_second:.0} | {middle:.2} ({low:.2} to {high:.2}) | {cost:.1} µs \
                 | {instructions:.0} | {allocations:.1} |"
            );
        }
    }
    Ok(())
}

/// The result of a race: medians over the rounds.
struct Rate {
    each_second: f64,
    /// The quartiles of its rate, relative to the first server's in the same round.
    ratio: [f64; 3],
    /// CPU time of all threads, in microseconds.
    cost: f64,
}

/// Runs all servers in turns, and every other round in reverse order.
fn race(stage: &Stage, route: &'static Route) -> Result<Vec<Rate>> {
    let start = |(_, server): &(_, Server)| stage.start(*server, &[]);
    let running: Vec<_> = SERVERS.iter().map(start).collect::<Result<_>>()?;
    let mut turns = vec![Vec::new(); running.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        let mut order: Vec<_> = (0..running.len()).collect();
        if round % 2 == 0 {
            order.reverse();
        }
        for which in order {
            let (before, began) = (running[which].cpu_time()?, Instant::now());
            let answers = float(stage.answers(&running[which], route, TURN)?);
            let seconds = began.elapsed().as_secs_f64();
            let used = running[which]
                .cpu_time()?
                .saturating_sub(before)
                .as_secs_f64();
            if round > 0 {
                turns[which].push((answers / seconds, used / answers));
            }
        }
    }
    let rates = turns.iter().map(|of_one| {
        let ratios = of_one
            .iter()
            .zip(&turns[0])
            .map(|(it, first)| it.0 / first.0);
        Rate {
            each_second: quartiles(of_one.iter().map(|(rate, _)| *rate))[1],
            ratio: quartiles(ratios),
            cost: 1e6 * quartiles(of_one.iter().map(|(_, cost)| *cost))[1],
        }
    });
    Ok(rates.collect())
}

fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}
