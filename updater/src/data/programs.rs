//! `sqlite3` and `psql` as sources and targets of rows.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Checksum, Column, Table, quoted};

/// How many rows are sent between two updates of the progress bar.
const STEP: u64 = 20_000;

/// Rows of a SQLite database, a line each.
pub(super) struct Source {
    child: Child,
    lines: BufReader<ChildStdout>,
    line: Vec<u8>,
}

impl Source {
    pub(super) fn open(file: &Path, query: &str) -> Result<Self> {
        let mut child = sqlite_command(file, query)
            .stdout(Stdio::piped())
            .spawn()
            .context("sqlite3 cannot be run: install it")?;
        let lines = BufReader::new(child.stdout.take().context("a piped stream")?);
        Ok(Self {
            child,
            lines,
            line: Vec::new(),
        })
    }

    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        self.line.clear();
        if self.lines.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        Ok(Some(self.line.strip_suffix(b"\n").unwrap_or(&self.line)))
    }

    pub(super) fn finish(mut self) -> Result<()> {
        ensure!(self.child.wait()?.success(), "sqlite3 failed");
        Ok(())
    }
}

/// One session with Postgres. Without a [`commit`](Self::commit), its transaction is rolled back.
pub(super) struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Target {
    pub(super) fn open(url: &str) -> Result<Self> {
        let mut child = psql_command(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("psql cannot be run: install postgresql-client")?;
        let input = child.stdin.take().context("a piped stream")?;
        let output = BufReader::new(child.stdout.take().context("a piped stream")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    pub(super) fn send(&mut self, line: &str) -> Result<()> {
        self.row(line.as_bytes())
    }

    pub(super) fn row(&mut self, line: &[u8]) -> Result<()> {
        let sent = self
            .input
            .write_all(line)
            .and_then(|()| self.input.write_all(b"\n"));
        sent.context("psql has ended: its message is above. Nothing was copied")
    }

    /// The rows of a table as they are in this transaction.
    pub(super) fn checksum(&mut self, table: &Table) -> Result<Checksum> {
        const END: &[u8] = b"(the end of the table)\n";
        let columns: Vec<_> = table.columns.iter().map(Column::printed).collect();
        let name = quoted(&table.name);
        self.send(&format!(
            "COPY (SELECT {} FROM {name}) TO STDOUT;",
            columns.join(", ")
        ))?;
        self.send("\\echo '(the end of the table)'")?;
        self.input.flush()?;
        let mut sum = Checksum::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            ensure!(
                self.output.read_until(b'\n', &mut line)? > 0,
                "psql has ended: its message is above. Nothing was copied"
            );
            if line == END {
                return Ok(sum);
            }
            sum.add(table, line.strip_suffix(b"\n").unwrap_or(&line));
        }
    }

    pub(super) fn commit(mut self) -> Result<()> {
        self.send("COMMIT;")?;
        drop(self.input);
        ensure!(
            self.child.wait()?.success(),
            "psql failed. Nothing was copied"
        );
        Ok(())
    }
}

/// A bar on a terminal.
pub(super) struct Progress {
    all: u64,
    done: u64,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(all: u64) -> Self {
        let is_shown = std::io::stderr().is_terminal();
        Self {
            all,
            done: 0,
            is_shown,
        }
    }

    pub(super) fn step(&mut self) {
        self.done += 1;
        if self.is_shown && self.done.is_multiple_of(STEP) {
            self.show();
        }
    }

    fn show(&self) {
        let percent = 100 * self.done / self.all.max(1);
        let width = usize::try_from(percent / 2).unwrap_or(50).min(50);
        let (done, all) = (self.done, self.all);
        eprint!(
            "\r[{:<50}] {percent:>3} % ({done} of {all} rows)",
            "#".repeat(width)
        );
    }

    pub(super) fn end(&self) {
        if self.is_shown {
            self.show();
            eprintln!();
        }
    }
}

fn sqlite_command(file: &Path, query: &str) -> Command {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-batch", "-bail", "-readonly", "-noheader", "-list"]);
    sqlite.arg(file).arg(query);
    sqlite
}

pub(super) fn sqlite(file: &Path, query: &str) -> Result<String> {
    output(&mut sqlite_command(file, query))
}

fn psql_command(url: &str) -> Command {
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
    psql.args(["--set", "ON_ERROR_STOP=1", "--dbname", url]);
    psql
}

pub(super) fn psql(url: &str, query: &str) -> Result<String> {
    output(psql_command(url).args(["--command", query]))
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.output();
    let output = output.with_context(|| format!("{program} cannot be run: install it"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}", error.trim());
    Ok(String::from_utf8(output.stdout)?)
}
