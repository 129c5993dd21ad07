//! Two routes that do almost no work, so that the measurement shows the layers around them: one
//! says hello, and one takes JSON and returns JSON.

use axum::Router;
use axum::routing::{get, post};
use garde::Validate;
use mainstay::input::Json;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize, Validate)]
#[serde(deny_unknown_fields)]
struct Target {
    #[garde(length(max = 100))]
    name: String,
    #[garde(length(max = 2000))]
    url: String,
    #[garde(range(max = 86_400))]
    interval: u32,
}

pub(crate) fn routes() -> Router {
    Router::new().route("/plain", get(async || "hello")).route(
        "/json",
        post(async |Json(target): Json<Target>| Json(target)),
    )
}
