//! What the process uses, as the operating system counts it. What cannot be had, as outside of Linux, is
//! left out.

#![expect(
    clippy::disallowed_methods,
    reason = "the kernel answers from memory: no disk is asked"
)]

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::catalog;
use super::text::Text;
use crate::build_info::BuildInfo;
use crate::telemetry::lost_lines;

pub(super) fn write(text: &mut Text) {
    let used = Used::read();
    let used = used.as_ref();
    text.family(&catalog::PROCESS_MEMORY)
        .maybe(used.map(|used| used.memory));
    text.family(&catalog::PROCESS_FILES).maybe(open_files());
    let most = getrlimit(Resource::Nofile).current;
    text.family(&catalog::PROCESS_MAX_FILES).maybe(most);
    text.family(&catalog::PROCESS_CPU)
        .maybe(used.map(|used| used.cpu));
    text.family(&catalog::PROCESS_START)
        .maybe(used.and_then(|used| used.start));
    text.family(&catalog::LOG_LINES_LOST)
        .sample(&[], lost_lines());
    let info = BuildInfo::current();
    let build = [info.version, info.commit, info.profile];
    text.family(&catalog::BUILD_INFO).sample(&build, 1);
}

struct Used {
    /// In bytes.
    memory: u64,
    /// In seconds.
    cpu: f64,
    /// In seconds, since 1970.
    start: Option<f64>,
}

impl Used {
    fn read() -> Option<Self> {
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name, with whatever is in that.
        let (_, fields) = process.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_ascii_whitespace().collect();
        // Counted as in proc(5), from the third on.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let pages = field(24)?;
        let began = seconds(field(22)?);
        Some(Self {
            memory: pages.saturating_mul(u64::try_from(page_size()).ok()?),
            cpu: seconds(field(14)?.saturating_add(field(15)?)),
            start: boot().map(|boot| boot + began),
        })
    }
}

/// When the machine was started.
fn boot() -> Option<f64> {
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot = machine
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    boot.trim().parse().ok()
}

fn open_files() -> Option<usize> {
    // One of them is what they are read with.
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    files.checked_sub(1)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a number of ticks that is not exact any more is some millennia"
)]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::testing::Exposition;

    fn page() -> Exposition {
        let mut text = Text::default();
        write(&mut text);
        Exposition::read(&text.into_string())
    }

    #[test]
    fn usage_of_the_process_is_plausible() {
        let page = page();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - page.value("process_start_time_seconds");
        assert!(age.abs() < 600.0, "it began {age} seconds ago");
        let memory = page.value("process_resident_memory_bytes");
        assert!((1e6..1e9).contains(&memory), "{memory} bytes");
        let files = page.value("process_open_fds");
        assert!((3.0..1000.0).contains(&files), "{files} files");
        assert!(page.value("process_max_fds") >= files);
    }

    #[test]
    fn cpu_time_grows_with_work_and_no_faster_than_time() {
        const PATIENCE: Duration = Duration::from_mins(1);
        /// Ten of the ticks that it is counted in.
        const WORK: f64 = 0.1;
        let used = || page().value("process_cpu_seconds_total");
        let (began, before) = (Instant::now(), used());

        let mut after = before;
        while after < before + WORK {
            assert!(began.elapsed() < PATIENCE, "{before}, and then {after}");
            after = used();
        }

        let processors = thread::available_parallelism().unwrap().get() + 1;
        let most = began.elapsed() * u32::try_from(processors).unwrap();
        let grown = after - before;
        assert!(grown <= most.as_secs_f64(), "{grown} of {most:?}");
    }
}
