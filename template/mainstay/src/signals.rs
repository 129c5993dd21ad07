//! Signals: what the operating system, an orchestrator or a person at a terminal asks of the
//! process.
//!
//! | signal | |
//! |---|---|
//! | SIGTERM, SIGINT | stop |
//! | SIGQUIT | stop, without the delay for load balancers |
//! | SIGHUP | read the settings again, and go on with what is safe to change; it never ends anything |
//!
//! What a second one means is for the composition root to say.

use std::fmt;

use tokio::signal::unix::{self, SignalKind, signal};

/// A signal that asks for a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Terminate,
    Interrupt,
    Quit,
}

impl Signal {
    /// The exit code of a process that ended because of this, at once.
    #[must_use]
    pub fn code(self) -> i32 {
        128 + self.kind().as_raw_value()
    }

    fn kind(self) -> SignalKind {
        match self {
            Self::Terminate => SignalKind::terminate(),
            Self::Interrupt => SignalKind::interrupt(),
            Self::Quit => SignalKind::quit(),
        }
    }
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

/// The signals of this process, from the moment that it listens to them.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    hangup: unix::Signal,
    reload: Box<dyn Fn() + Send + Sync>,
}

impl Signals {
    /// From here on, the process decides what a signal does. `reload` is what SIGHUP asks for.
    ///
    /// # Errors
    ///
    /// When the operating system refuses the handlers.
    pub fn listen(reload: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            reload: Box::new(reload),
        })
    }

    /// The next signal that asks for a stop.
    pub async fn next(&mut self) -> Signal {
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

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").finish_non_exhaustive()
    }
}
