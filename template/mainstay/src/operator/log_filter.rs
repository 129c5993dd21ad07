//! Changes the filter of the log for a while. A change expires by itself.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use garde::Validate;
use serde::Deserialize;

use super::state::OperatorState;
use crate::input::Json;
use crate::problem::Problem;
use crate::telemetry::{Filter, InForce};

const NO_FILTER: Problem = Problem::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "invalid",
    "Expected levels by target, such as `info` or `info,sqlx=warn`",
);

const NO_TIME: Problem = Problem::new(
    StatusCode::UNPROCESSABLE_ENTITY,
    "invalid",
    "Expected a time from `1s` to `24h`, such as `10m`",
);

/// What a change is for that does not say it.
const DEFAULT: Duration = Duration::from_mins(15);

const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_hours(24);

/// What the operator wants to be logged.
#[derive(Deserialize, Validate)]
#[garde(allow_unvalidated)]
pub(super) struct Change {
    filter: String,
    r#for: Option<String>,
}

pub(super) async fn show(State(shown): State<Arc<OperatorState>>) -> Json<InForce> {
    Json(shown.filtering.in_force())
}

pub(super) async fn change(
    State(shown): State<Arc<OperatorState>>,
    Json(change): Json<Change>,
) -> Result<Json<InForce>, Problem> {
    let (filter, time) = understood(&change)?;
    shown.filtering.change_for(time, &filter);
    Ok(Json(shown.filtering.in_force()))
}

fn understood(change: &Change) -> Result<(Filter, Duration), Problem> {
    let about = |problem: Problem, field: &str| problem.with_field(Some(field.to_owned()));
    let filter = Filter::written(&change.filter).ok_or_else(|| about(NO_FILTER, "filter"))?;
    let time = match change.r#for.as_deref() {
        None => Some(DEFAULT),
        Some(text) => humantime::parse_duration(text).ok(),
    };
    let time = time.filter(|time| (LEAST..=MOST).contains(time));
    Ok((filter, time.ok_or_else(|| about(NO_TIME, "for"))?))
}
