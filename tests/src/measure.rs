//! What a generated service costs: to build, to start, to run. The commands print tables for docs/performance.md.

mod costs;
mod edge;
mod servers;

use anyhow::Result;
use clap::ValueEnum;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Part {
    /// Build times, start, memory and size
    Costs,
    /// The rate and the cost of requests, compared with other servers
    Edge,
}

pub fn measure(part: Part) -> Result<()> {
    match part {
        Part::Costs => costs::measure(),
        Part::Edge => edge::measure(),
    }
}
