//! Why the supervisor refuses a task or an order.

use std::sync::Arc;

/// Why a task was not started, or an order not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// There is a task of this name.
    #[error("there is a task {0:?} already")]
    NameTaken(Arc<str>),
    /// The stop has begun.
    #[error("the service is stopping: the task {0:?} is not started")]
    Stopping(Arc<str>),
    /// There is no running task of this name.
    #[error("there is no running task {0:?}")]
    Unknown(Arc<str>),
}
