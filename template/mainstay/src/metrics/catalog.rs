//! Every metric of the machinery: its name, its labels, and its help text.
//!
//! Names follow OpenTelemetry's conventions in the form of Prometheus: the unit is a base unit and part of
//! the name, and a counter ends in `_total`. `docs/metrics.md` is generated from this file.

/// What is known by one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

/// How a family is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// As the text format writes it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Family {
    const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Counter,
            labels,
            help,
        }
    }

    const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Gauge,
            labels,
            help,
        }
    }

    const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind: Kind::Histogram,
            labels,
            help,
        }
    }

    /// The unit, by the name; a number of things has none.
    #[cfg(test)]
    pub(crate) fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        match name.rsplit('_').next() {
            Some("seconds") => "seconds",
            Some("bytes") => "bytes",
            Some(_) | None => "",
        }
    }
}

/// All metrics, by subject.
#[cfg(any(test, feature = "testing"))]
pub(crate) const SECTIONS: &[(&str, &[Family])] = &[
    (
        "Requests",
        &[
            REQUEST_DURATION,
            ACTIVE_REQUESTS,
            REQUEST_BODIES,
            RESPONSE_BODIES,
            REQUESTS_SHED,
        ],
    ),
    (
        "The public listener",
        &[CONNECTIONS, ACCEPTED, CLOSED, REQUESTS, UNFINISHED],
    ),
    (
        "The database",
        &[
            POOL_COUNT,
            POOL_MAX,
            POOL_PENDING,
            POOL_WAIT,
            POOL_TIMEOUTS,
            POOL_HELD_LONG,
            POOL_LONGEST_HOLD,
            POOL_DISCARDED,
        ],
    ),
    (
        "Idempotency keys",
        &[IDEMPOTENCY_REQUESTS, IDEMPOTENCY_ANSWERS],
    ),
    (
        "Tasks, health, lifecycle, the operator",
        &[
            TASK_STATE,
            TASK_RUNS,
            TASK_RESTARTS,
            CHECK_PASSING,
            CHECK_DURATION,
            LIFECYCLE_STATE,
            OPERATOR_REFUSED,
        ],
    ),
    (
        "The runtime",
        &[
            STALLS,
            STALLED,
            LAG,
            RUNTIME_WORKERS,
            RUNTIME_TASKS,
            RUNTIME_QUEUE,
            RUNTIME_BUSY,
        ],
    ),
    (
        "The process",
        &[
            PROCESS_MEMORY,
            PROCESS_FILES,
            PROCESS_MAX_FILES,
            PROCESS_CPU,
            PROCESS_START,
            LOG_LINES_LOST,
            BUILD_INFO,
        ],
    ),
    (
        "The export to a collector, where there is one",
        &[OTLP_EXPORTS, OTLP_SPANS],
    ),
];

pub(crate) const REQUEST_DURATION: Family = Family::histogram(
    "http_server_request_duration_seconds",
    &["method", "route", "status"],
    "From the head of a request to the head of its answer, or to the moment when its client left, \
     which counts as 4xx.",
);
pub(crate) const ACTIVE_REQUESTS: Family = Family::gauge(
    "http_server_active_requests",
    &[],
    "Requests that have no answer yet.",
);
pub(crate) const REQUEST_BODIES: Family = Family::histogram(
    "http_server_request_body_size_bytes",
    &["method", "route"],
    "Bodies of requests; those whose length was not told beforehand are left out.",
);
pub(crate) const RESPONSE_BODIES: Family = Family::histogram(
    "http_server_response_body_size_bytes",
    &["method", "route"],
    "Bodies of answers; those whose length is not known beforehand are left out.",
);
pub(crate) const REQUESTS_SHED: Family = Family::counter(
    "http_server_requests_shed_total",
    &[],
    "Requests that were refused because the service had too much to do.",
);

pub(crate) const CONNECTIONS: Family = Family::gauge(
    "http_listener_connections",
    &[],
    "Connections that are open.",
);
pub(crate) const ACCEPTED: Family = Family::counter(
    "http_listener_connections_accepted_total",
    &[],
    "Connections that were ever accepted.",
);
pub(crate) const CLOSED: Family = Family::counter(
    "http_listener_connections_closed_total",
    &["reason"],
    "Connections that were closed because of their client: the head of a request did not come in time \
     (`late_head`), no further request came (`idle`), or an answer was not taken (`slow_reader`).",
);
pub(crate) const REQUESTS: Family = Family::counter(
    "http_listener_requests_total",
    &[],
    "Requests that came in, probes included.",
);
pub(crate) const UNFINISHED: Family = Family::gauge(
    "http_listener_unfinished_requests",
    &[],
    "Requests whose answer is not written to its last byte, probes included.",
);

pub(crate) const POOL_COUNT: Family = Family::gauge(
    "db_client_connection_count",
    &["pool", "state"],
    "Open connections, by state: `idle` or `used`. The pool `sqlx` has this gauge and the next one; its other \
     series stay at 0.",
);
pub(crate) const POOL_MAX: Family = Family::gauge(
    "db_client_connection_max",
    &["pool"],
    "The most connections that there may be.",
);
pub(crate) const POOL_PENDING: Family = Family::gauge(
    "db_client_connection_pending_requests",
    &["pool"],
    "Whoever waits for a connection.",
);
pub(crate) const POOL_WAIT: Family = Family::histogram(
    "db_client_connection_wait_time_seconds",
    &["pool"],
    "How long those waited who got a connection.",
);
pub(crate) const POOL_TIMEOUTS: Family = Family::counter(
    "db_client_connection_timeouts_total",
    &["pool"],
    "Whoever did not get a connection in time.",
);
pub(crate) const POOL_HELD_LONG: Family = Family::counter(
    "db_client_connection_held_long_total",
    &["pool"],
    "Whoever had a connection for longer than `database.hold_warning`.",
);
pub(crate) const POOL_LONGEST_HOLD: Family = Family::gauge(
    "db_client_connection_longest_hold_seconds",
    &["pool"],
    "The longest that somebody has had a connection.",
);
pub(crate) const POOL_DISCARDED: Family = Family::counter(
    "db_client_connection_discarded_total",
    &["pool", "reason"],
    "Connections that were closed before the pool was: too `old`, no answer (`dead`), failed \
     (`broken`), or what was under way could not be ended (`unfinished`).",
);

pub(crate) const IDEMPOTENCY_REQUESTS: Family = Family::counter(
    "idempotency_requests_total",
    &["outcome"],
    "Requests with an idempotency key: worked on, with an answer that was kept (`first`), answered as \
     before (`replayed`), or refused, since another with the same key was being worked on (`in_use`) or \
     the key belongs to another request (`reused`).",
);
pub(crate) const IDEMPOTENCY_ANSWERS: Family = Family::gauge(
    "idempotency_answers",
    &[],
    "Answers that are kept for whoever asks again, as of the last minute.",
);

pub(crate) const TASK_STATE: Family = Family::gauge(
    "task_state",
    &["task", "state"],
    "1 for the state that a task is in, and 0 for the others: `starting`, `running`, `backing_off`, \
     `paused`, `stopped`, `gave_up`.",
);
pub(crate) const TASK_RUNS: Family =
    Family::counter("task_runs_total", &["task"], "How often a task has run.");
pub(crate) const TASK_RESTARTS: Family = Family::counter(
    "task_restarts_total",
    &["task"],
    "How often a task was started again after it had ended.",
);
pub(crate) const CHECK_PASSING: Family = Family::gauge(
    "health_check_passing",
    &["check"],
    "1 while a check is believed to pass, 0 while it fails.",
);
pub(crate) const CHECK_DURATION: Family = Family::gauge(
    "health_check_duration_seconds",
    &["check"],
    "How long the last answer to a check took.",
);
pub(crate) const LIFECYCLE_STATE: Family = Family::gauge(
    "lifecycle_state",
    &["state"],
    "1 for the state that the process is in, and 0 for the others: `starting`, `ready`, `draining`, \
     `stopped`.",
);

pub(crate) const OPERATOR_REFUSED: Family = Family::counter(
    "operator_tokens_refused_total",
    &[],
    "Wrong tokens that the operator's listener was given.",
);

pub(crate) const STALLS: Family = Family::counter(
    "runtime_stalls_total",
    &[],
    "How often every thread of the runtime was blocked for a second or longer.",
);
pub(crate) const STALLED: Family = Family::gauge(
    "runtime_stalled_seconds",
    &[],
    "How long they have been blocked by now; 0 while they are not.",
);
pub(crate) const LAG: Family = Family::gauge(
    "runtime_lag_seconds",
    &[],
    "How long the runtime took to answer the last heartbeat, of which there is one a second: so long does a task wait that could go on.",
);
pub(crate) const RUNTIME_WORKERS: Family =
    Family::gauge("runtime_workers", &[], "Threads that run tasks.");
pub(crate) const RUNTIME_TASKS: Family = Family::gauge(
    "runtime_alive_tasks",
    &[],
    "Tasks that have not ended, one for each connection among them.",
);
pub(crate) const RUNTIME_QUEUE: Family = Family::gauge(
    "runtime_global_queue_depth",
    &[],
    "Tasks that wait in the queue that all threads share.",
);
pub(crate) const RUNTIME_BUSY: Family = Family::counter(
    "runtime_busy_seconds_total",
    &[],
    "The time that the threads have not been idle for, all of them together.",
);

pub(crate) const PROCESS_MEMORY: Family = Family::gauge(
    "process_resident_memory_bytes",
    &[],
    "Memory that the process has in use.",
);
pub(crate) const PROCESS_FILES: Family =
    Family::gauge("process_open_fds", &[], "File descriptors that are open.");
pub(crate) const PROCESS_MAX_FILES: Family = Family::gauge(
    "process_max_fds",
    &[],
    "The most file descriptors that may be open.",
);
pub(crate) const PROCESS_CPU: Family = Family::counter(
    "process_cpu_seconds_total",
    &[],
    "Time of all processors that was used, in the kernel too.",
);
pub(crate) const PROCESS_START: Family = Family::gauge(
    "process_start_time_seconds",
    &[],
    "When the process began, since 1970.",
);
pub(crate) const LOG_LINES_LOST: Family = Family::counter(
    "log_lines_lost_total",
    &[],
    "Lines of the log for which there was no room, since nobody read those before them.",
);
pub(crate) const BUILD_INFO: Family = Family::gauge(
    "build_info",
    &["version", "commit", "profile"],
    "1, with what the binary was built from.",
);

pub(crate) const OTLP_EXPORTS: Family = Family::counter(
    "otlp_exports_total",
    &["signal", "outcome"],
    "Requests to the collector with `traces`: those that were `taken`, and those that `failed`.",
);
pub(crate) const OTLP_SPANS: Family = Family::counter(
    "otlp_spans_total",
    &["outcome"],
    "Spans that were `sent`, and those that were `lost`, since the collector did not take them or the \
     queue was full.",
);
