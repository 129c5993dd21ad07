//! What a failing dependency means for `/readyz`.

use serde::Deserialize;

/// What a failing dependency means for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Importance {
    /// The service stays ready. `/readyz?verbose`, the metrics and the log show the failure.
    Degraded,
    /// The service is not ready.
    Required,
}
