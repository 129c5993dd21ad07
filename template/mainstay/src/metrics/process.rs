//! The metrics of the runtime, of the process as the operating system counts them, and of the build. Outside of
//! Linux, those that cannot be read are left out.

#![expect(
    clippy::disallowed_methods,
    reason = "procfs is in memory: reading it does not block"
)]

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;

use super::catalog;
use super::text::Text;
use crate::build_info::BuildInfo;
use crate::telemetry::lost_lines;

pub(super) fn write(runtime: &Handle, started: SystemTime, text: &mut Text) {
    let metrics = runtime.metrics();
    let workers = metrics.num_workers();
    text.value(&catalog::RUNTIME_WORKERS, workers);
    text.value(&catalog::RUNTIME_TASKS, metrics.num_alive_tasks());
    text.value(&catalog::RUNTIME_QUEUE, metrics.global_queue_depth());
    let busy: Duration = (0..workers)
        .map(|worker| metrics.worker_total_busy_duration(worker))
        .sum();
    text.value(&catalog::RUNTIME_BUSY, busy.as_secs_f64());

    let since_1970 = started.duration_since(SystemTime::UNIX_EPOCH);
    let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
    // The second field is the resident memory, in pages.
    let memory = fs::read_to_string("/proc/self/statm").ok();
    let pages = memory.and_then(|memory| memory.split(' ').nth(1)?.parse::<usize>().ok());
    let memory = pages.map(|pages| pages.saturating_mul(page_size()));
    // The listing itself has one of these files open.
    let files = fs::read_dir("/proc/self/fd").ok();
    let files = files.map(|files| files.count().saturating_sub(1));
    let max_files = getrlimit(Resource::Nofile).current;
    let seconds = |time: Duration| time.as_secs_f64();
    text.maybe(&catalog::PROCESS_MEMORY, memory);
    text.maybe(&catalog::PROCESS_FILES, files);
    text.maybe(&catalog::PROCESS_MAX_FILES, max_files);
    text.maybe(&catalog::PROCESS_CPU, cpu.ok().map(seconds));
    text.maybe(&catalog::PROCESS_START, since_1970.ok().map(seconds));
    text.value(&catalog::LOG_LINES_LOST, lost_lines());
    let info = BuildInfo::current();
    text.family(&catalog::BUILD_INFO)
        .sample(&[info.version, info.commit, BuildInfo::PROFILE], 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Exposition;

    #[tokio::test]
    async fn usage_of_the_process_is_plausible() {
        let mut text = Text::default();
        write(&Handle::current(), SystemTime::now(), &mut text);
        let page = Exposition::read(&text.into_string());
        let memory = page.count("process_resident_memory_bytes");
        assert!(
            (1_000_000..1_000_000_000).contains(&memory),
            "{memory} bytes"
        );
        let files = page.count("process_open_fds");
        assert!((3..1000).contains(&files), "{files} files");
        assert!(page.count("process_max_fds") >= files);
        let cpu = page.series["process_cpu_seconds_total"].parse().unwrap();
        assert!((0.0..600.0).contains(&cpu), "{cpu} seconds");
    }
}
