//! The command line and its help.
//!
//! Wrong usage exits with 2 and a hint, `--help` and `--version` with 0.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::build_info::BuildInfo;
use crate::health::Probe;

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

/// The parsed command line.
#[derive(Debug, Parser)]
#[command(about = ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    given: Given,
}

/// The options of every command, before it or after it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Given {
    /// Read settings from this TOML file; a later file wins over an earlier one
    #[arg(long = "config", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Set one setting, over everything else; not for secrets
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Run the service until it is told to stop (the default)
    Serve(Given),
    /// Bring the database up to date, and exit
    Migrate {
        /// Change nothing; exit with 1 if a migration is pending
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        given: Given,
    },
    /// Look at the settings
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
        #[command(flatten)]
        given: Given,
    },
    /// Ask the running service whether it is ready, or for another probe; exit with 0 or 1
    Healthcheck {
        /// Which of its probes is asked
        #[arg(value_enum, default_value_t = Probe::Readyz)]
        probe: Probe,
        #[command(flatten)]
        given: Given,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say everything that is wrong with the settings, without starting
    Check(Given),
    /// Show each setting in force and what set it; secrets are redacted
    Print(Given),
    /// List every environment variable with its meaning and its default
    Env(Given),
    /// Print every setting with its meaning and its default, as a TOML file to start from
    Default(Given),
}

impl Arguments {
    /// The arguments of this process. Exits when they cannot be understood.
    pub(crate) fn of_process(info: &BuildInfo) -> Self {
        let command = Self::command()
            .name(info.name)
            .version(&*info.version_line().leak());
        let mut matches = command.get_matches();
        Self::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
    }

    /// The command, which is to serve unless another one was given, and what was given with it, in
    /// the order of the command line.
    pub(crate) fn into_parts(self) -> (Command, Given) {
        let command = self
            .command
            .unwrap_or_else(|| Command::Serve(Given::default()));
        let mut given = self.given;
        match &command {
            Command::Serve(more)
            | Command::Migrate { given: more, .. }
            | Command::Healthcheck { given: more, .. } => {
                given.add(more);
            }
            Command::Config {
                command,
                given: more,
            } => {
                given.add(more);
                let (ConfigCommand::Check(more)
                | ConfigCommand::Print(more)
                | ConfigCommand::Env(more)
                | ConfigCommand::Default(more)) = command;
                given.add(more);
            }
        }
        (command, given)
    }
}

impl Given {
    fn add(&mut self, more: &Self) {
        self.files.extend_from_slice(&more.files);
        self.set.extend_from_slice(&more.set);
    }
}
