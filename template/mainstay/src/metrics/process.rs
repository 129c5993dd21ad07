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
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let (process, machine) = (read("/proc/self/stat"), read("/proc/stat"));
    // The second field is the name of the program in parentheses, which may contain spaces.
    let fields = process.rsplit(')').next().unwrap_or_default();
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    // Numbered as in proc_pid_stat(5), where the first of these is 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let pages = field(24);
    text.maybe(
        &catalog::PROCESS_MEMORY,
        pages.map(|pages| pages.saturating_mul(page_size() as u64)),
    );
    // The listing itself has one of these files open.
    let files = fs::read_dir("/proc/self/fd").ok();
    let files = files.map(|files| files.count().saturating_sub(1));
    text.maybe(&catalog::PROCESS_FILES, files);
    let max_files = getrlimit(Resource::Nofile).current;
    text.maybe(&catalog::PROCESS_MAX_FILES, max_files);
    let cpu = field(14).zip(field(15));
    let cpu = cpu.map(|(user, kernel)| seconds(user.saturating_add(kernel)));
    text.maybe(&catalog::PROCESS_CPU, cpu);
    let mut boot = machine
        .lines()
        .filter_map(|line| line.strip_prefix("btime "));
    let boot = boot.next().and_then(|boot| boot.trim().parse::<f64>().ok());
    let start = boot.zip(field(22));
    let start = start.map(|(boot, since)| boot + seconds(since));
    text.maybe(&catalog::PROCESS_START, start);
    text.value(&catalog::LOG_LINES_LOST, lost_lines());
    let info = BuildInfo::current();
    text.family(&catalog::BUILD_INFO)
        .sample(&[info.version, info.commit, info.profile], 1);
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
    use std::time::SystemTime;

    use super::*;
    use crate::testing::Exposition;

    #[test]
    fn usage_of_the_process_is_plausible() {
        let mut text = Text::default();
        write(&mut text);
        let page = Exposition::read(&text.into_string());
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let age = now - page.value("process_start_time_seconds");
        assert!(age.abs() < 600.0, "it began {age} seconds ago");
        let memory = page.value("process_resident_memory_bytes");
        assert!((1e6..1e9).contains(&memory), "{memory} bytes");
        let files = page.value("process_open_fds");
        assert!((3.0..1000.0).contains(&files), "{files} files");
        assert!(page.value("process_max_fds") >= files);
        let cpu = page.value("process_cpu_seconds_total");
        assert!((0.0..600.0).contains(&cpu), "{cpu} seconds");
    }
}
