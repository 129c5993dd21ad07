//! `/api/log-filter`: changes the filter of the log for a while. A change expires by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use garde::Validate;
use serde::Deserialize;

use super::state::OperatorState;
use crate::input::Json;
use crate::problem::{Fault, Problem};
use crate::telemetry::{Filter, InForce};

const DEFAULT: Duration = Duration::from_mins(15);
const LIMITS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24);

#[derive(Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Change {
    filter: String,
    r#for: Option<String>,
}

pub(super) async fn show(State(state): State<Arc<OperatorState>>) -> Json<InForce> {
    Json(state.filtering.in_force())
}

pub(super) async fn change(
    State(state): State<Arc<OperatorState>>,
    Json(change): Json<Change>,
) -> Result<Json<InForce>, Problem> {
    let invalid = |field, expected| Problem::INVALID.with([Fault::in_body(field, expected)]);
    let filter = Filter::written(&change.filter).ok_or_else(|| {
        let expected = "expected levels by target, such as `info` or `info,sqlx=warn`";
        invalid("/filter", expected)
    })?;
    let time = change.r#for.as_deref();
    let time = time.map_or(Ok(DEFAULT), humantime::parse_duration);
    let time = time.ok().filter(|time| LIMITS.contains(time));
    let time = time.ok_or_else(|| invalid("/for", "expected from `1s` to `24h`, such as `10m`"))?;
    state.filtering.change_for(time, &filter);
    Ok(Json(state.filtering.in_force()))
}
