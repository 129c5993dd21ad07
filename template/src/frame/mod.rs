//! The machinery of the service. It knows nothing of what the service is for: `crate::service`
//! uses it, and never the other way round.
//!
//! One file a concern, each opening with what it promises:
//!
//! | module | concern |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`settings`] | layers of settings, typed and strict, and the report when they are wrong |
//! | [`supervisor`] | tasks that are kept running, and stopped in order |
//! | [`together`] | several things at once, of which none is left running |
//! | [`telemetry`] | logs, and the messages that outsiders rely on |
//! | [`lifecycle`] | the state of the process, the phases of its stop, exit codes |
//! | [`signals`] | what is asked of the process from outside |
//! | [`server`] | listeners: accept, watch over, drain |
//! | [`edge`] | what stands between a socket and a handler |
//! | [`input`] | what a handler is given, checked |
//! | [`precondition`] | versions of what is answered, and requests that are about one of them |
//! | [`openapi`] | the description of the API, and its page |
//! | [`idempotency`] | requests that are sent again, and worked on once |
//! | [`rate`] | how much each client may ask for |
//! | [`context`] | what code knows of the request that it runs for |
//! | [`cpu`] | work that computes, and its threads |
//! | [`panics`] | panics, caught and logged |
//! | [`problem`] | errors on the wire |
//! | [`health`] | the three probes |
//! | [`metrics`] | what is counted, and shown to Prometheus |
//! | [`operator`] | the operator's listener |
//! | [`watchdog`] | stalls of the runtime |
//! | [`database`] | the pool and its migrations |

pub mod cli;
pub mod context;
pub mod cpu;
pub mod database;
pub mod edge;
pub mod health;
pub mod idempotency;
pub mod input;
pub mod lifecycle;
pub mod metrics;
pub mod openapi;
pub mod operator;
pub mod panics;
pub mod precondition;
pub mod problem;
pub mod rate;
mod sections;
pub mod server;
pub mod settings;
pub mod signals;
pub mod supervisor;
pub mod telemetry;
pub mod together;
pub mod watchdog;

pub use sections::Settings;

/// What the frame offers to the service.
#[derive(Debug, Clone)]
pub struct Frame {
    pub lifecycle: lifecycle::Lifecycle,
    pub supervisor: supervisor::Supervisor,
    pub health: health::Health,
    pub database: database::Database,
    pub keys: idempotency::Keys,
    pub cpu: cpu::Cpu,
}
