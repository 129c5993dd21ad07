//! Why the supervisor refuses.

use std::sync::Arc;

/// Why a task was not taken on, or an order not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    #[error("there is a task {0:?} already")]
    NameTaken(Arc<str>),
    #[error("the service is stopping: {0:?} is not started any more")]
    Stopping(Arc<str>),
    #[error("there is no task {0:?} that could be told anything")]
    Unknown(Arc<str>),
}
