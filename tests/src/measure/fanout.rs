//! The cost of requesting many URLs at once: the service's batches, compared with a typical Python
//! script. Both request the same peer, in turns, and have one thread each.

mod askers;

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{judged, mebibytes};
use crate::crowd::make_room;
use askers::{Peer, Place, SIDES, Side, Turn, exchange};

const URLS: usize = 10_000;

/// URLs in one request.
const BATCH: usize = 1_000;

/// Requests in flight, and rounds. A first round warms up.
const RACES: [(usize, usize); 3] = [(10, 3), (100, 9), (1_000, 9)];

/// Memory is measured at this concurrency. It may grow by as much as ten requests leave with the
/// allocator.
const USUAL: usize = 100;
const GROWTH: u64 = 4 << 20;

/// The section of docs/performance.md.
pub(super) fn section(target: &Path) -> Result<String> {
    let place = Place::built(target)?;
    // For the peer, which holds the connections of both.
    make_room(2 * RACES[RACES.len() - 1].0)?;
    let peer = place.peer()?;
    let latency = latency(peer.address)?;
    let mut races = Vec::new();
    for (at_once, rounds) in RACES {
        races.push(race(&place, &peer, at_once, rounds)?);
    }
    let mut memory = Vec::new();
    for urls in [BATCH, URLS] {
        let mut peaks = Vec::new();
        for side in SIDES {
            let mut asker = place.start(side, &peer, USUAL)?;
            asker.turn(urls)?;
            peaks.push(peak(asker.pid())?);
        }
        memory.push((urls, peaks));
    }
    page(&place, latency, &races, &memory)
}

fn page(
    place: &Place,
    latency: Duration,
    races: &[Race],
    memory: &[(usize, Vec<u64>)],
) -> Result<String> {
    let versions = place
        .python(SocketAddr::from(([127, 0, 0, 1], 1)), 1)?
        .made_of;
    let milliseconds = latency.as_secs_f64() * 1e3;
    let mut page = format!(
        "\n## Many URLs at once\n\n\
         The cost of checking {URLS} URLs, compared with a usual Python script \
         (`tests/fanout.py`: {versions}). Each `POST /v1/checks` to the service has {BATCH} of \
         the URLs. The peer keeps connections open, and responds to a single client after \
         {milliseconds:.1} ms. The least possible time is this latency times the number of URLs, \
         divided by the concurrency. The service and the script have one thread each; the peer \
         has the other core. Aims: a fifth of Python's CPU for each check, within 10 % of the \
         least possible time, and memory that does not grow with the number of URLs. `cargo run \
         -- measure fanout` prints:\n\n\
         | concurrency | CPU per check | Python: CPU per check | Python / service | time \
         | Python: time | least time | time / least time |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for race in races {
        writeln!(page, "{}", race.row(latency))?;
    }
    page.push_str(
        "\nCPU is that of all threads, including the work to read the request and to write the \
         response. At high concurrency, the CPU limits the time. At low concurrency, almost \
         every response wakes the thread, so a check costs more CPU.\n\n\
         | peak memory (RSS) at concurrency 100 | service | Python |\n|---|---|---|\n",
    );
    let fewest = memory.first().map_or(0, |(_, peaks)| peaks[0]);
    for (urls, peaks) in memory {
        let grown = peaks[0].saturating_sub(fewest);
        let ours = judged(&mebibytes(peaks[0]), grown <= GROWTH);
        writeln!(page, "| {urls} URLs | {ours} | {} |", mebibytes(peaks[1]))?;
    }
    Ok(page)
}

/// The result of a race, round by round: the service's, and Python's.
struct Race {
    at_once: usize,
    turns: [Vec<Turn>; 2],
}

/// Runs both in turns, alternating the order.
fn race(place: &Place, peer: &Peer, at_once: usize, rounds: usize) -> Result<Race> {
    let mut askers = [
        place.start(Side::Ours, peer, at_once)?,
        place.start(Side::Python, peer, at_once)?,
    ];
    let mut turns = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let turn = askers[which].turn(URLS)?;
            if round > 0 {
                turns[which].push(turn);
            }
        }
    }
    Ok(Race { at_once, turns })
}

impl Race {
    fn row(&self, latency: Duration) -> String {
        let [ours, pythons] = &self.turns;
        let cost = |turn: &Turn| turn.used.as_secs_f64() * 1e6 / count(URLS);
        let took = |turn: &Turn| turn.took.as_secs_f64();
        let least = latency.as_secs_f64() * count(URLS) / count(self.at_once);
        let ratios = ours.iter().zip(pythons);
        let [low, middle, high] = quartiles(ratios.map(|(ours, python)| cost(python) / cost(ours)));
        let median = |turns: &[Turn], of: &dyn Fn(&Turn) -> f64| quartiles(turns.iter().map(of))[1];
        let time = median(ours, &took);
        format!(
            "| {} | {:.1} µs | {:.1} µs | {} | {time:.2} s | {:.2} s | {least:.2} s | {} |",
            self.at_once,
            median(ours, &cost),
            median(pythons, &cost),
            judged(
                &format!("{middle:.1} times ({low:.1} to {high:.1})"),
                middle >= 5.0
            ),
            median(pythons, &took),
            judged(&format!("{:.2}", time / least), time <= 1.1 * least),
        )
    }
}

fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn count(things: usize) -> f64 {
    things as f64
}

/// The latency of one request, from a client without other work.
fn latency(peer: SocketAddr) -> Result<Duration> {
    let mut stream = TcpStream::connect(peer)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    for _ in 0..201 {
        let began = Instant::now();
        exchange(&mut stream, b"GET / HTTP/1.1\r\nhost: peer\r\n\r\n")?;
        times.push(began.elapsed());
    }
    Ok(super::median(times))
}

/// The peak memory of a process, in bytes.
fn peak(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB"));
    Ok(kibibytes.context("VmHWM has a value")?.parse::<u64>()? * 1024)
}
