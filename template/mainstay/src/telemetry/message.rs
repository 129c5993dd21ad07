//! The messages of the log that dashboards, tests and operators rely on, each with its fields. All other
//! messages may change their words.

/// A listener accepts connections: `listener`, `address`.
pub const LISTENING: &str = "listening";
/// The start is complete. The service is ready.
pub const READY: &str = "ready";
/// The start failed: `cause`.
pub const FAILED: &str = "failed";
/// The stop has begun: `signal` or `cause`.
pub const DRAINING: &str = "draining";
/// The stop waits for something, every five seconds: `phase`, `for`, `left`.
pub const WAITING: &str = "waiting";
/// SIGHUP has reloaded the settings: `filter`.
pub const RELOADED: &str = "reloaded";
/// The operator has changed the filter for a while, or that time is over: `by`, `filter`, `for`.
pub const REFILTERED: &str = "refiltered";
/// The buffer was full, and lines are missing here: `lost`.
pub const LOST: &str = "log lines were lost";
/// The collector does not accept an export: `signal`, `endpoint`, `cause`.
pub const EXPORT_FAILS: &str = "export fails";
/// The collector accepts exports again: `signal`.
pub const EXPORTS_AGAIN: &str = "export works again";
/// The process ends before all spans were exported: `lost`, since the start.
pub const SPANS_LOST: &str = "spans were lost";
/// The last event: `outcome`, `exit_code`, `abandoned`.
pub const STOPPED: &str = "stopped";
/// A request was answered: `method`, `route`, `status`, `duration_ms`, `request_id`.
pub const REQUEST: &str = "request";
