//! Keeps data of clients out of the log at every level, unless the filter names the targets that log it.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Crates that quote what passes through them: h2 a path that is none, with the query behind it, and
/// the others the address that is asked, with the name and the password in it.
const INDISCREET: [&str; 3] = ["h2", "hyper", "hyper_util"];

/// The most that is logged of them: they quote nothing there.
const DISCREET: LevelFilter = LevelFilter::INFO;

/// Keeps them to that, but for those that the filter names.
#[derive(Debug)]
pub(in crate::telemetry) struct Discretion {
    named: Vec<String>,
}

impl Discretion {
    /// In the words of a filter.
    pub(super) fn but_for(filter: &str) -> Self {
        // A target, a span of it, and a level: `h2::server[span]=debug`.
        let targets = filter
            .split(',')
            .filter_map(|part| part.split(['[', '=']).next());
        let named = targets
            .map(str::trim)
            .filter(|target| is_indiscreet(target));
        Self {
            named: named.map(str::to_owned).collect(),
        }
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        DISCREET >= *metadata.level()
            || !is_indiscreet(target)
            || self.named.iter().any(|named| is_of(target, named))
    }
}

fn is_indiscreet(target: &str) -> bool {
    INDISCREET.iter().any(|name| is_of(target, name))
}

/// Whether it is this module, or one inside of it.
fn is_of(target: &str, module: &str) -> bool {
    let rest = target.strip_prefix(module);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl<S: Subscriber> Layer<S> for Discretion {
    /// Whoever may be logged at all is asked for once.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.allows(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.allows(metadata)
    }
}
