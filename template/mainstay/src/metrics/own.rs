//! What the service counts by itself, anywhere, with the macros of the `metrics` crate.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::histogram::{DURATIONS, SIZES};

/// Whatever the macros have recorded. All are the same: they record into one place in a process.
#[derive(Debug, Clone)]
pub(super) struct Own(PrometheusHandle);

impl Own {
    pub(super) fn install() -> Result<Self, BuildError> {
        static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
        let sizes: Vec<_> = SIZES.bounds().collect();
        let others: Vec<_> = DURATIONS.bounds().collect();
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &sizes)?
            .set_buckets(&others)?;
        let installed = INSTALLED.get_or_init(|| {
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // If there is one already, the service has it from elsewhere, and shows it there.
            _ = metrics::set_global_recorder(recorder);
            handle
        });
        Ok(Self(installed.clone()))
    }

    /// Puts into buckets what histograms have recorded since the last time.
    pub(super) fn tidy(&self) {
        self.0.run_upkeep();
    }

    pub(super) fn text(&self) -> String {
        self.0.render()
    }
}
