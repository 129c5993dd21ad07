//! The metrics of the runtime, of the process as the operating system counts them, and of the build. Outside of
//! Linux, those that cannot be read are left out.

#![expect(
    clippy::disallowed_methods,
    reason = "procfs is in memory: reading it does not block"
)]

use std::fs;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;

use super::catalog;
use super::text::Text;
use crate::build_info::BuildInfo;
use crate::telemetry::lost_lines;

pub(super) fn write_runtime(runtime: &Handle, text: &mut Text) {
    let metrics = runtime.metrics();
    let workers = metrics.num_workers();
    text.value(&catalog::RUNTIME_WORKERS, workers);
    text.value(&catalog::RUNTIME_TASKS, metrics.num_alive_tasks());
    text.value(&catalog::RUNTIME_QUEUE, metrics.global_queue_depth());
    let busy: Duration = (0..workers)
        .map(|worker| metrics.worker_total_busy_duration(worker))
        .sum();
    text.value(&catalog::RUNTIME_BUSY, busy.as_secs_f64());
}

pub(super) fn write(text: &mut Text) {
    let usage = Usage::read();
    let usage = usage.as_ref();
    text.maybe(&catalog::PROCESS_MEMORY, usage.map(|usage| usage.memory));
    // The listing itself has one of these files open.
    let files = fs::read_dir("/proc/self/fd").ok();
    text.maybe(
        &catalog::PROCESS_FILES,
        files.map(|files| files.count().saturating_sub(1)),
    );
    text.maybe(
        &catalog::PROCESS_MAX_FILES,
        getrlimit(Resource::Nofile).current,
    );
    text.maybe(&catalog::PROCESS_CPU, usage.map(|usage| usage.cpu));
    text.maybe(&catalog::PROCESS_START, usage.and_then(|usage| usage.start));
    text.value(&catalog::LOG_LINES_LOST, lost_lines());
    let info = BuildInfo::current();
    text.family(&catalog::BUILD_INFO)
        .sample(&[info.version, info.commit, BuildInfo::PROFILE], 1);
}

struct Usage {
    /// In bytes.
    memory: u64,
    /// In seconds.
    cpu: f64,
    /// In seconds since 1970.
    start: Option<f64>,
}

impl Usage {
    fn read() -> Option<Self> {
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the name of the program in parentheses, which may contain spaces.
        let (_, fields) = process.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_ascii_whitespace().collect();
        // Numbered as in proc_pid_stat(5), where the first of these is 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let since_boot = seconds(field(22)?);
        let machine = fs::read_to_string("/proc/stat").ok();
        let boot = machine.as_deref().and_then(|machine| {
            let boot = machine.lines().find_map(|line| line.strip_prefix("btime "));
            boot?.trim().parse::<f64>().ok()
        });
        Some(Self {
            memory: field(24)?.saturating_mul(u64::try_from(page_size()).ok()?),
            cpu: seconds(field(14)?.saturating_add(field(15)?)),
            start: boot.map(|boot| boot + since_boot),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks are exact for thousands of years"
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
