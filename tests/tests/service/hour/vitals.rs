//! The resources of a service, from its metrics and from Linux.

use std::fmt::{self, Display};
use std::fs;

use harness::service::Service;

#[derive(Clone, Debug)]
pub(crate) struct Vitals {
    /// Bytes of resident memory.
    pub(crate) memory: u64,
    pub(crate) tasks: usize,
    pub(crate) sockets: usize,
    pub(crate) files: usize,
    /// Checks that have a result.
    pub(crate) results: usize,
    pub(crate) queued: usize,
    pub(crate) unwritten: usize,
    /// Hosts whose circuit breaker is closed, and open.
    pub(crate) hosts: [usize; 2],
}

impl Vitals {
    pub(crate) async fn of(service: &Service) -> Self {
        let page = service.ask("/metrics").await;
        let page = page.text();
        let checks = |outcome| {
            let series = format!("monitor_checks_total{{outcome=\"{outcome}\"}}");
            number(page, &series)
        };
        let hosts = |breaker| number(page, &format!("monitor_hosts{{breaker=\"{breaker}\"}}"));
        let (sockets, files) = descriptors(service);
        Self {
            memory: service.rss(),
            tasks: number(page, "runtime_alive_tasks"),
            sockets,
            files,
            results: checks("up") + checks("down"),
            queued: number(page, "monitor_queue_length{lane=\"scheduled\"}"),
            unwritten: number(page, "monitor_results_unwritten"),
            hosts: [hosts("closed"), hosts("open") + hosts("half_open")],
        }
    }
}

impl Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [asked, left_alone] = self.hosts;
        write!(
            f,
            "{:>7} results, {:>4} queued, {:>4} unwritten, {asked:>3} + {left_alone:>2} hosts, \
             {:>4} tasks, {:>4} sockets, {:>3} files, {:>4} MiB",
            self.results,
            self.queued,
            self.unwritten,
            self.tasks,
            self.sockets,
            self.files,
            self.memory >> 20,
        )
    }
}

/// The value of a series; 0 if it is absent.
fn number(page: &str, series: &str) -> usize {
    let value = page.lines().find_map(|line| {
        let value = line.strip_prefix(series)?.strip_prefix(' ')?;
        value.parse().ok()
    });
    value.unwrap_or(0)
}

/// The number of descriptors that are sockets, and of the others.
fn descriptors(service: &Service) -> (usize, usize) {
    let of = format!("/proc/{}/fd", service.pid());
    let leads = fs::read_dir(of).expect("it runs");
    // A descriptor may be closed meanwhile.
    let leads = leads.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let (sockets, files): (Vec<_>, Vec<_>) =
        leads.partition(|to| to.to_string_lossy().starts_with("socket:"));
    (sockets.len(), files.len())
}
