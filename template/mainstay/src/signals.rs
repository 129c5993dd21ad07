//! Signals of the operating system.
//!
//! | signal | effect |
//! |---|---|
//! | SIGTERM, SIGINT | stop |
//! | SIGQUIT | stop without the delay for load balancers |
//! | SIGHUP | read the settings again, and apply those that are safe to change at runtime |

use std::fmt;

use tokio::signal::unix::{self, SignalKind, signal};

/// A signal that asks for a stop, with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT
    Interrupt = 2,
    /// SIGQUIT
    Quit = 3,
    /// SIGTERM
    Terminate = 15,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
        })
    }
}

pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    hangup: unix::Signal,
    reload: Box<dyn Fn() + Send + Sync>,
}

impl Signals {
    /// Installs the handlers. SIGHUP calls `reload`.
    pub(crate) fn listen(reload: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            reload: Box::new(reload),
        })
    }

    /// Waits for the next signal that asks for a stop.
    pub(crate) async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Signal::Terminate,
                _ = self.interrupt.recv() => return Signal::Interrupt,
                _ = self.quit.recv() => return Signal::Quit,
                _ = self.hangup.recv() => (self.reload)(),
            }
        }
    }
}
