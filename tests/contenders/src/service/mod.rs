//! A service that does next to nothing, so that what is measured is what stands around it: one route
//! that says hello, and one that takes JSON and gives JSON.

use std::error::Error;

use axum::Router;
use axum::routing::{get, post};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;

use crate::frame::Frame;
use crate::frame::input::Json;
use crate::frame::settings::{Reader, Section};

/// None of its own.
#[derive(Debug, Clone)]
pub struct Settings {
    pub frame: crate::frame::Settings,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self { frame: from.part() }
    }
}

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

/// Gives every route.
#[expect(clippy::unused_async, reason = "the frame waits for it")]
pub async fn start(
    _: &Settings,
    _: &Frame,
) -> Result<OpenApiRouter, Box<dyn Error + Send + Sync>> {
    let routes = Router::new()
        .route("/plain", get(async || "hello"))
        .route("/json", post(async |Json(target): Json<Target>| Json(target)));
    // What is measured is described to nobody.
    Ok(routes.into())
}
