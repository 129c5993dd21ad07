//! The command line and its help.
//!
//! Wrong usage prints a hint and exits with 2. `--help` and `--version` exit with 0.

use std::env;
use std::ffi::OsString;

use clap::{Args, FromArgMatches, Subcommand};

use crate::build_info::BuildInfo;
use crate::settings::Sources;

const AFTER_HELP: &str = "\
Settings, lowest to highest:
  the defaults, which are compiled in; `config default` prints them
  each --config FILE, or the files that APP_CONFIG names
  APP__SECTION__KEY, or APP__SECTION__KEY_FILE for a file that holds the value
  each --set section.key=value

Exit codes:
  0      stopped cleanly
  1      failed; the last lines of the output name the cause
  2      wrong usage
  3      stopped, but abandoned something at a deadline
  128+n  second signal n";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the service until it is stopped (the default)
    Serve,
    /// Apply the pending migrations, and exit
    Migrate {
        /// Change nothing; exit with 1 if a migration is pending
        #[arg(long)]
        check: bool,
    },
    /// Inspect the settings
    #[command(subcommand)]
    Config(Config),
    /// Query a probe of the running service; exit with 0 if it passes, otherwise with 1
    Healthcheck {
        /// The probe
        #[arg(default_value = "readyz", value_parser = ["readyz", "livez", "startupz"])]
        probe: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Config {
    /// Report every problem with the settings, without starting
    Check,
    /// Show each setting in force with its source; secrets are redacted
    Print,
    /// List every environment variable with its description and its default
    Env,
    /// Print every setting with its description and its default, as a TOML file
    Default,
}

/// Reads the command line and the environment of this process. Exits if the command line is not valid.
pub(crate) fn parse(info: &BuildInfo) -> (Command, Sources) {
    let command_line = Command::augment_subcommands(clap::Command::new(info.name))
        .about("Runs the service, and manages its settings and its database.")
        .version(&*info.version_line().leak())
        .after_help(AFTER_HELP);
    let matches = with_sources(command_line).get_matches();
    // The only error left is that no command was given: `get_matches` exits on any other.
    let command = Command::from_arg_matches(&matches).unwrap_or(Command::Serve);

    // `--config` and `--set` are allowed at each level: before and after a command or a subcommand.
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let variables = env::vars_os().map(|(name, value)| (text(name), text(value)));
    let mut sources = Sources {
        environment: variables.collect(),
        ..Sources::default()
    };
    let mut level = Some(&matches);
    while let Some(matches) = level {
        let options = Sources::from_arg_matches(matches).unwrap_or_default();
        sources.files.extend(options.files);
        sources.set.extend(options.set);
        level = matches.subcommand().map(|(_, inner)| inner);
    }
    (command, sources)
}

fn with_sources(command: clap::Command) -> clap::Command {
    Sources::augment_args(command).mut_subcommands(with_sources)
}
