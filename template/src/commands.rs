//! What the command line can ask for, and how it is done. `serve` is told where the composition is.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::frame::cli::{Arguments, Command, ConfigCommand, Given};
use crate::frame::database::{Database, counted};
use crate::frame::health;
use crate::frame::lifecycle::Exit;
use crate::frame::settings::{self, Loaded, Problems, Reference, Sources};
use crate::frame::telemetry;
use crate::service::Settings;
use crate::{Outcome, serve};

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let (command, given) = Arguments::of_process().into_parts();
    let _logged = Logged;
    let exit = perform(&command, &given).unwrap_or_else(|error| {
        let words = error.to_string();
        // There may be nobody to tell.
        _ = writeln!(io::stderr(), "error: {}", words.trim_end());
        Exit::Failed
    });
    exit.into()
}

/// Until the process ends, in whatever way: then the log is whole.
struct Logged;

impl Drop for Logged {
    fn drop(&mut self) {
        telemetry::flush();
    }
}

fn perform(command: &Command, given: &Given) -> Outcome {
    if let Command::Config {
        command: ConfigCommand::Env(_),
        ..
    } = command
    {
        return say(&settings::environment_file(&reference()));
    }
    let loaded = load(given)?;
    match command {
        Command::Serve(_) => run(serve(loaded, given.clone())),
        Command::Migrate { check, .. } => run(migrate(&loaded.settings, *check)),
        Command::Healthcheck { probe, .. } => {
            let passes = health::ask(loaded.settings.frame.operator.listen, *probe)?;
            let not = if passes { "" } else { "not " };
            say(&format!("{not}{}\n", probe.passed()))?;
            Ok(if passes { Exit::Clean } else { Exit::Failed })
        }
        Command::Config {
            command: ConfigCommand::Print(_),
            ..
        } => say(&settings::print(&loaded.entries)),
        Command::Config { .. } => say("the settings are right\n"),
    }
}

/// The settings of this process.
pub(crate) fn load(given: &Given) -> Result<Loaded<Settings>, Problems> {
    settings::load(&reference(), &Sources::of_process(&given.files, &given.set))
}

/// Every setting there is, with its default and its meaning.
fn reference() -> Reference {
    let text = include_str!("../config/default.toml");
    // Compiled in, so that the binary needs no file beside it.{% comment %}
    #[cfg(feature = "postgres")]
    let text = &text.replace(
        "sqlite:data/service.db",
        "postgres://postgres@localhost/beacon",
    );
    // {% endcomment %}
    Reference::new(text)
}

/// Puts an answer on stdout, after what was logged on the way to it. A reader that has gone, as `head`
/// does, has what it wanted.
fn say(answer: &str) -> Outcome {
    telemetry::flush();
    match io::stdout().write_all(answer.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(Exit::Clean),
    }
}

/// `migrate`: brings the database up to date, or says whether it is.
async fn migrate(settings: &Settings, check: bool) -> Outcome {
    settings.frame.log.start(None)?;
    if check && !Database::exists(&settings.frame.database) {
        say("there is no database yet: every migration is pending\n")?;
        return Ok(Exit::Failed);
    }
    let database = Database::new(&settings.frame.database)?;
    let migrated = bring_up_to_date(&database, check).await;
    database.close(settings.frame.shutdown.close).await;
    migrated
}

async fn bring_up_to_date(database: &Database, check: bool) -> Outcome {
    database.reach().await?;
    let pending = database.pending().await?;
    if check {
        say(&format!("pending: {}\n", counted(pending)))?;
    } else {
        database.migrate().await?;
        say(&format!("applied: {}\n", counted(pending)))?;
    }
    Ok(if check && pending > 0 {
        Exit::Failed
    } else {
        Exit::Clean
    })
}

/// Runs on all cores. Blocking work that hangs does not keep the process alive.
#[expect(clippy::disallowed_methods, reason = "this is where async code begins")]
fn run(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_has_every_setting_and_no_other() {
        let reference = reference();
        let loaded = settings::load::<Settings>(&reference, &Sources::default())
            .unwrap_or_else(|problems| panic!("{problems}"));
        let mut read: Vec<_> = loaded
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        let mut described: Vec<_> = reference.keys().collect();
        read.sort_unstable();
        described.sort_unstable();
        assert_eq!(
            described, read,
            "config/default.toml against what the program reads"
        );
    }

    #[test]
    fn the_reference_tells_what_each_setting_means() {
        let reference = reference();
        let silent: Vec<_> = reference
            .keys()
            .filter(|key| reference.meaning(key).is_empty())
            .collect();
        assert!(
            silent.is_empty(),
            "no comment above {silent:?} in config/default.toml"
        );
    }
}
