//! Every metric of the machinery: its name, its kind, its labels and its help text.
//!
//! Names follow OpenTelemetry's conventions in the form of Prometheus: the unit is a base unit and part of the
//! name, and a counter ends in `_total`. `docs/metrics.md` is generated from this file.

/// All samples of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// As in the text format: `counter`, `gauge` or `histogram`.
    pub(crate) kind: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

macro_rules! catalog {
    ($($section:literal {
        $($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)+
    })+) => {
        $($(pub(crate) const $id: Family = Family {
            name: $name,
            kind: stringify!($kind),
            labels: &[$($label),*],
            help: $help,
        };)+)+

        /// All metrics, by subject.
        #[cfg(any(test, feature = "testing"))]
        pub(crate) const SECTIONS: &[(&str, &[Family])] = &[$(($section, &[$($id),+])),+];
    };
}

catalog! {
    "Requests" {
        REQUEST_DURATION = histogram "http_server_request_duration_seconds" ["method", "route", "status"]
            "Time from the head of a request to the head of its response. A request whose client left early \
             counts as 4xx.";
        ACTIVE_REQUESTS = gauge "http_server_active_requests" [] "Requests without a response yet.";
        REQUEST_BODIES = histogram "http_server_request_body_size_bytes" ["method", "route"]
            "Size of request bodies. Bodies without a declared length are not counted.";
        RESPONSE_BODIES = histogram "http_server_response_body_size_bytes" ["method", "route"]
            "Size of response bodies. Streamed bodies are not counted.";
        REQUESTS_SHED = counter "http_server_requests_shed_total" []
            "Requests refused because the service was overloaded.";
    }
    "The public listener" {
        CONNECTIONS = gauge "http_listener_connections" [] "Open connections.";
        ACCEPTED = counter "http_listener_connections_accepted_total" [] "Connections accepted.";
        CLOSED = counter "http_listener_connections_closed_total" ["reason"]
            "Connections closed because of their client: the head of a request was late (`late_head`), no \
             further request arrived (`idle`), or the client did not read a response (`slow_reader`).";
        REQUESTS = counter "http_listener_requests_total" [] "Requests received, including probes.";
        UNFINISHED = gauge "http_listener_unfinished_requests" []
            "Requests whose response is not completely written, including probes.";
    }
    "The database" {
        POOL_COUNT = gauge "db_client_connection_count" ["pool", "state"]
            "Open connections by state: `idle` or `used`. The pool `sqlx` has this gauge and the next one; its \
              other series stay at 0.";
        POOL_MAX = gauge "db_client_connection_max" ["pool"] "Maximum number of open connections.";
        POOL_PENDING = gauge "db_client_connection_pending_requests" ["pool"] "Callers that wait for a connection.";
        POOL_WAIT = histogram "db_client_connection_wait_time_seconds" ["pool"]
            "Time that callers waited until they got a connection.";
        POOL_TIMEOUTS = counter "db_client_connection_timeouts_total" ["pool"]
            "Callers that did not get a connection in time.";
        POOL_HELD_LONG = counter "db_client_connection_held_long_total" ["pool"]
            "Checkouts that lasted longer than `database.hold_warning`.";
        POOL_LONGEST_HOLD = gauge "db_client_connection_longest_hold_seconds" ["pool"] "Longest checkout so far.";
        POOL_DISCARDED = counter "db_client_connection_discarded_total" ["pool", "reason"]
            "Connections closed before the pool was closed: at their maximum age (`old`), without an answer to a \
             ping (`dead`), after an error (`broken`), or with a statement that could not be ended (`unfinished`).";
    }
    "Idempotency keys" {
        IDEMPOTENCY_REQUESTS = counter "idempotency_requests_total" ["outcome"]
            "Requests with an idempotency key: processed, with the response stored (`first`), answered from the \
             store (`replayed`), or refused, because a request with the key is in progress (`in_use`) or the key \
             belongs to another request (`reused`).";
        IDEMPOTENCY_ANSWERS = gauge "idempotency_answers" [] "Stored responses, counted once a minute.";
    }
    "Tasks, health, lifecycle, the operator" {
        TASK_STATE = gauge "task_state" ["task", "state"]
            "1 for the current state of a task, and 0 for the others: `starting`, `running`, `backing_off`, \
             `paused`, `stopped`, `gave_up`.";
        TASK_RUNS = counter "task_runs_total" ["task"] "Runs of a task.";
        TASK_RESTARTS = counter "task_restarts_total" ["task"] "Restarts of a task after it ended.";
        CHECK_PASSING = gauge "health_check_passing" ["check"]
            "1 while a check passes, 0 after three failures in a row.";
        CHECK_DURATION = gauge "health_check_duration_seconds" ["check"] "Duration of the last run of a check.";
        LIFECYCLE_STATE = gauge "lifecycle_state" ["state"]
            "1 for the current state of the process, and 0 for the others: `starting`, `ready`, `draining`, \
             `stopped`.";
        OPERATOR_REFUSED = counter "operator_tokens_refused_total" [] "Wrong tokens sent to the operator's listener.";
    }
    "The runtime" {
        STALLS = counter "runtime_stalls_total" []
            "Stalls: times that every thread of the runtime was blocked for a second or longer.";
        STALLED = gauge "runtime_stalled_seconds" [] "Duration of the current stall; 0 without one.";
        LAG = gauge "runtime_lag_seconds" []
            "Time that the runtime took to answer the last heartbeat, sent once a second: a task that is ready to \
             run waits that long.";
        RUNTIME_WORKERS = gauge "runtime_workers" [] "Worker threads.";
        RUNTIME_TASKS = gauge "runtime_alive_tasks" []
            "Tasks of the runtime that have not ended, including one for each connection.";
        RUNTIME_QUEUE = gauge "runtime_global_queue_depth" [] "Tasks in the queue that all workers share.";
        RUNTIME_BUSY = counter "runtime_busy_seconds_total" []
            "Time that the workers were busy, summed over all of them.";
    }
    "The process" {
        PROCESS_MEMORY = gauge "process_resident_memory_bytes" [] "Resident memory.";
        PROCESS_FILES = gauge "process_open_fds" [] "Open file descriptors.";
        PROCESS_MAX_FILES = gauge "process_max_fds" [] "Maximum number of open file descriptors.";
        PROCESS_CPU = counter "process_cpu_seconds_total" [] "CPU time, in user space and in the kernel.";
        PROCESS_START = gauge "process_start_time_seconds" [] "Start of the process, in seconds since 1970.";
        LOG_LINES_LOST = counter "log_lines_lost_total" []
            "Log lines dropped because the reader of the log was too slow.";
        BUILD_INFO = gauge "build_info" ["version", "commit", "profile"] "Always 1. The labels identify the build.";
    }
    "The export to a collector, if enabled" {
        OTLP_EXPORTS = counter "otlp_exports_total" ["signal", "outcome"]
            "Requests to the collector with `traces`: `taken` or `failed`.";
        OTLP_SPANS = counter "otlp_spans_total" ["outcome"]
            "Spans that were `sent`, and spans that were `lost` because the collector did not accept them or the \
              queue was full.";
    }
}
