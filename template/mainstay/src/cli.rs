//! The command line and its help.
//!
//! Wrong usage exits with 2 and a hint, `--help` and `--version` with 0.

use std::path::PathBuf;

use clap::{Arg, ArgAction, value_parser};

use crate::build_info::BuildInfo;

const ABOUT: &str = "Runs the service, and manages its settings and its database.";

const AFTER_HELP: &str = "\
Settings, lowest to highest:
  config/default.toml, which is compiled in
  each --config FILE, or the files that APP_CONFIG names
  APP__SECTION__KEY, or APP__SECTION__KEY_FILE for a file that holds the value
  each --set section.key=value

Exit codes:
  0      stopped cleanly
  1      failed; the last lines name the cause
  2      wrong usage
  3      stopped, but abandoned something at a deadline
  128+n  second signal n";

/// The command that the command line names.
pub(crate) enum Command {
    Serve,
    Migrate { check: bool },
    ConfigCheck,
    ConfigPrint,
    ConfigEnv,
    ConfigDefault,
    Healthcheck(String),
}

/// The options of every command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) set: Vec<String>,
}

/// Parses the command line of this process. Exits if it is not valid.
pub(crate) fn parse(info: &BuildInfo) -> (Command, Given) {
    let check = Arg::new("check")
        .long("check")
        .action(ArgAction::SetTrue)
        .help("Change nothing; exit with 1 if a migration is pending");
    let probe = Arg::new("probe")
        .value_parser(["readyz", "livez", "startupz"])
        .default_value("readyz")
        .help("The probe");
    let config = command("config", "Inspect the settings")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            command(
                "check",
                "Report every problem with the settings, without starting",
            ),
            command(
                "print",
                "Show each setting in force with its source; secrets are redacted",
            ),
            command(
                "env",
                "List every environment variable with its description and its default",
            ),
            command(
                "default",
                "Print every setting with its description and its default, as a TOML file",
            ),
        ]);
    let mut matches = command(info.name, ABOUT)
        .version(&*info.version_line().leak())
        .after_help(AFTER_HELP)
        .subcommands([
            command("serve", "Run the service until it is stopped (the default)"),
            command("migrate", "Apply the pending migrations, and exit").arg(check),
            config,
            command(
                "healthcheck",
                "Query a probe of the running service; exit with 0 if it passes, or else 1",
            )
            .arg(probe),
        ])
        .get_matches();

    // The options may stand before and after each name of a command.
    let (mut given, mut names) = (Given::default(), Vec::new());
    loop {
        let files = matches.remove_many("config").into_iter().flatten();
        given.files.extend(files);
        given
            .set
            .extend(matches.remove_many("set").into_iter().flatten());
        let Some((name, inner)) = matches.remove_subcommand() else {
            break;
        };
        names.push(name);
        matches = inner;
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let command = match names[..] {
        ["migrate"] => Command::Migrate {
            check: matches.get_flag("check"),
        },
        ["config", "check"] => Command::ConfigCheck,
        ["config", "print"] => Command::ConfigPrint,
        ["config", "env"] => Command::ConfigEnv,
        ["config", ..] => Command::ConfigDefault,
        ["healthcheck"] => Command::Healthcheck(matches.remove_one("probe").unwrap_or_default()),
        _ => Command::Serve,
    };
    (command, given)
}

fn command(name: &'static str, about: &'static str) -> clap::Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .action(ArgAction::Append)
        .help("Read settings from this TOML file; a later file wins over an earlier one");
    let set = Arg::new("set")
        .long("set")
        .value_name("KEY=VALUE")
        .action(ArgAction::Append)
        .help("Set one setting, over everything else; not for secrets");
    clap::Command::new(name).about(about).args([config, set])
}
