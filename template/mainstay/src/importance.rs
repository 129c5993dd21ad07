//! What a failing dependency means for `/readyz`.

use config::ValueKind;

use crate::settings::{Setting, one_of};

/// What a failing dependency means for `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// The service stays ready. `/readyz?verbose`, the metrics and the log show the failure.
    Degraded,
    /// The service is not ready.
    Required,
}

impl Setting for Importance {
    const EXPECTED: &'static str = "`degraded` or `required`";

    fn parse(value: &ValueKind) -> Option<Self> {
        let words = [("degraded", Self::Degraded), ("required", Self::Required)];
        one_of(value, &words)
    }
}
