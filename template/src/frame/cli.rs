//! The command line: what can be asked of the binary, and the help that says so.
//!
//! Wrong usage exits with 2 and a hint, `--help` and `--version` with 0.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Name, version, commit and build profile, as `--version` shows them.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("BUILD_COMMIT"),
    ", ",
    env!("BUILD_PROFILE"),
    " build)"
);

const ABOUT: &str = "Runs the service, and looks after its settings and its database.";

const AFTER_HELP: &str = "\
Settings, lowest to highest:
  config/default.toml, which is compiled in
  each --config FILE, or the files that APP_CONFIG names
  APP__SECTION__KEY, or APP__SECTION__KEY_FILE for a file that holds the value
  each --set section.key=value

Exit codes:
  0 stopped cleanly      1 failed, the last lines say why      2 wrong usage
  3 stopped, but had to abandon something                  128+n second signal n";

/// What was asked for.
#[derive(Debug, Parser)]
#[command(name = env!("CARGO_PKG_NAME"), version = VERSION, about = ABOUT, after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Read settings from this TOML file; a later file wins over an earlier one
    #[arg(long = "config", value_name = "FILE", global = true)]
    pub files: Vec<PathBuf>,

    /// Set one setting, over everything else; not for secrets
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the service until it is told to stop (the default)
    Serve,
    /// Bring the database up to date, and exit
    Migrate {
        /// Change nothing; exit with 1 if a migration is pending
        #[arg(long)]
        check: bool,
    },
    /// Look at the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Ask the running service whether it is ready; exit with 0 or 1
    Healthcheck,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with the settings, without starting
    Check,
    /// Show each setting in force and what set it; secrets are redacted
    Print,
    /// List every environment variable with its meaning and its default
    Env,
}

impl Arguments {
    /// The arguments of this process. Exits when they cannot be understood.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse()
    }

    /// The command, which is to serve unless another one was given.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Serve)
    }
}
