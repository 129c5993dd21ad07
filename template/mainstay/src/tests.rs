//! What the tests of several modules share.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use serde_json::Value;
use tower::ServiceExt;
use tracing::Dispatch;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;

use crate::settings::{Sources, Table, load};
use crate::testing::Answer;

/// Longer than any test takes: only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The head of a request.
pub(crate) fn request(method: &str, path: &str) -> Builder {
    let request = Request::builder().method(method).uri(path);
    request.header("host", "localhost")
}

/// Sends a request to these routes, without a socket.
pub(crate) async fn send(routes: &Router, request: Builder, body: impl Into<Body>) -> Answer {
    let request = request.body(body.into()).unwrap();
    let response = routes.clone().oneshot(request).await.unwrap();
    Answer::read(response).await.unwrap()
}

/// The status of an answer, and behind it the code if it is a problem: `503 overloaded`.
pub(crate) fn outcome(answer: &Answer) -> String {
    let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let code = problem["code"].as_str().unwrap_or_default();
    format!("{} {code}", answer.status).trim().to_owned()
}

/// The settings that every service has: the defaults, with `set` over them.
pub(crate) fn settings(set: &[&str]) -> crate::Settings {
    let defaults = [
        crate::sections::SETTINGS,
        #[cfg(feature = "otlp")]
        crate::telemetry::otlp::SETTINGS,
    ];
    let sources = Sources {
        set: set.iter().map(ToString::to_string).collect(),
        ..Sources::default()
    };
    let loaded = load::<crate::Settings>(Table::new(&defaults), &sources);
    loaded.unwrap_or_else(|report| panic!("{report}")).settings
}

/// Keeps written lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Page {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Runs `work` with this layer alone.
pub(crate) fn under(
    layer: impl Layer<registry::Registry> + Send + Sync + 'static,
    work: impl FnOnce(),
) {
    // With a single subscriber, `tracing` may cache the interest of a thread that has none.
    let _second = Dispatch::new(registry());
    tracing::subscriber::with_default(registry().with(layer), work);
}
