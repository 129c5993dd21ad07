//! The messages of the log that dashboards, tests and operators rely on, each with its fields. All other
//! messages may change their words.

/// A socket accepts connections: `listener`, `address`.
pub const LISTENING: &str = "listening";
/// The start is complete.
pub const READY: &str = "ready";
/// The start did not succeed: `cause`.
pub const FAILED: &str = "failed";
/// The stop has begun: `signal` or `cause`.
pub const DRAINING: &str = "draining";
/// The stop still waits, every five seconds: `phase`, `for`, `left`.
pub const WAITING: &str = "waiting";
/// SIGHUP was followed: `filter`.
pub const RELOADED: &str = "reloaded";
/// Something else is logged for a while, or no more: `by`, `filter`, `for`.
pub const REFILTERED: &str = "refiltered";
/// Here lines are missing, for which there was no room: `lost`.
pub const LOST: &str = "log lines were lost";
/// A collector does not take what is exported: `signal`, `endpoint`, `cause`.
pub const EXPORT_FAILS: &str = "export fails";
/// It does again: `signal`.
pub const EXPORTS_AGAIN: &str = "export works again";
/// The end has come before these could be exported: `lost`, since the start.
pub const SPANS_LOST: &str = "spans were lost";
/// The last event: `outcome`, `exit_code`, `abandoned`.
pub const STOPPED: &str = "stopped";
/// One request was answered: `method`, `route`, `status`, `duration_ms`, `request_id`.
pub const REQUEST: &str = "request";
