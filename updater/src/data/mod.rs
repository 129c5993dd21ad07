//! `cargo run -- copy-data FILE URL`: copies the data of a service from SQLite to Postgres.
//!
//! Both databases have been migrated by the same version of the service. All rows arrive in one
//! transaction: after an interruption the target is as it was, and the command runs again. Rows are
//! compared at the end, by their number and a checksum of each table, before the commit.
//!
//! It runs `sqlite3` and `psql`, which are on a machine that looks after either database.

mod programs;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use self::programs::{Progress, Source, Target, psql, sqlite};

/// A new database has at most this many rows, which its migrations have inserted.
const NEW: u64 = 10;

/// Copies the data of a service from SQLite to Postgres. Stop the service first.
#[derive(Debug, clap::Args)]
pub struct CopyData {
    /// The database file, such as data/service.db
    file: PathBuf,
    /// The URL of the migrated Postgres database
    url: String,
    /// Delete the rows that the Postgres database has
    #[arg(long)]
    replace: bool,
}

/// A table, and how its columns are read from both databases in the same words.
struct Table {
    name: String,
    rows: u64,
    columns: Vec<Column>,
    /// The highest number that SQLite has given out, for an identity column.
    sequence: Option<(String, i64)>,
}

/// What a write to the SQLite database changes: the time and the size of its files.
type State = [Option<(SystemTime, u64)>; 2];

struct Column {
    name: String,
    /// Its type in Postgres.
    kind: String,
}

/// The number of rows, and the sum of their hashes: the order does not matter.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Checksum {
    rows: u64,
    sum: u128,
}

impl Checksum {
    fn add(&mut self, table: &Table, row: &[u8]) {
        let hash = Sha256::digest(&*table.canonical(row));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(bytes));
        self.rows += 1;
    }
}

impl Table {
    /// A row in which numbers with fractions have one spelling.
    fn canonical<'a>(&self, row: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.columns.iter().any(Column::is_real) {
            return row.into();
        }
        let text = String::from_utf8_lossy(row);
        let fields = text.split('\t').zip(&self.columns).map(|(field, column)| {
            let number = field.parse::<f64>().ok().filter(|_| column.is_real());
            number.map_or_else(|| field.to_owned(), |number| number.to_string())
        });
        fields.collect::<Vec<_>>().join("\t").into_bytes().into()
    }
}

impl Column {
    fn is_real(&self) -> bool {
        ["double precision", "real"].contains(&&*self.kind)
    }

    /// An expression of SQLite for the column, as the text format of COPY writes it. A NUL stands for what
    /// Postgres cannot have.
    fn read(&self) -> String {
        let name = quoted(&self.name);
        let by = [
            ("92", "char(92, 92)"),
            ("8", "'\\b'"),
            ("9", "'\\t'"),
            ("10", "'\\n'"),
            ("11", "'\\v'"),
            ("12", "'\\f'"),
            ("13", "'\\r'"),
        ];
        let escaped = by.iter().fold(name.clone(), |inner, (code, by)| {
            format!("replace({inner}, char({code}), {by})")
        });
        let blob = match &*self.kind {
            "bytea" => format!("'\\\\x' || lower(hex({name}))"),
            _ => "char(0)".to_owned(),
        };
        format!(
            "CASE typeof({name}) WHEN 'null' THEN '\\N' WHEN 'blob' THEN {blob} \
             WHEN 'real' THEN printf('%!.17g', {name}) ELSE {escaped} END"
        )
    }

    /// As Postgres prints it in the words of SQLite, which has no type for flags.
    fn printed(&self) -> String {
        let name = quoted(&self.name);
        if self.kind == "boolean" {
            format!("{name}::int")
        } else {
            name
        }
    }
}

impl CopyData {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        ensure!(self.file.is_file(), "{} is no file", self.file.display());
        let versions = "SELECT version FROM _sqlx_migrations ORDER BY version";
        let migrated = self.sqlite(versions);
        let migrated = migrated.context("the SQLite database is not one of a service")?;
        let same = self.psql(versions);
        ensure!(
            migrated == same.context("the Postgres database cannot be used")?,
            "the databases have different migrations. Run `migrate` of the same version of the service on both"
        );
        let tables = self.tables()?;
        let mut there = 0;
        for table in &tables {
            let count = self.psql(&format!("SELECT count(*) FROM {}", quoted(&table.name)))?;
            there += count.trim().parse::<u64>()?;
        }
        ensure!(
            self.replace || there <= NEW,
            "the Postgres database has {there} rows already. To delete them, add --replace"
        );
        let state = self.state();
        let copied = self.copy(&tables, state)?;
        for (table, sum) in tables.iter().zip(copied) {
            println!(
                "{}: {} rows, checksum {:032x} on both sides",
                table.name, sum.rows, sum.sum
            );
        }
        Ok(())
    }

    fn sqlite(&self, query: &str) -> Result<String> {
        sqlite(&self.file, query)
    }

    fn psql(&self, query: &str) -> Result<String> {
        psql(&self.url, query)
    }

    fn state(&self) -> State {
        let mut log = self.file.clone().into_os_string();
        log.push("-wal");
        [self.file.as_os_str(), &log].map(|file| {
            let file = fs::metadata(file).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
    }

    /// The tables, those that others refer to first.
    fn tables(&self) -> Result<Vec<Table>> {
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                     AND name <> '_sqlx_migrations' ORDER BY name";
        let names = self.sqlite(names)?;
        let mut pending: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names.lines() {
            let table = text(name);
            let parents =
                format!("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list({table})");
            let parents = self.sqlite(&parents)?;
            let parents = parents.lines().filter(|parent| *parent != name);
            pending.insert(name.to_owned(), parents.map(str::to_owned).collect());
        }
        let mut tables = Vec::new();
        while !pending.is_empty() {
            let ready = pending
                .iter()
                .find(|(_, parents)| parents.iter().all(|parent| !pending.contains_key(parent)));
            let Some((name, _)) = ready else {
                bail!("the foreign keys of {:?} form a cycle", pending.keys());
            };
            let name = name.clone();
            pending.remove(&name);
            tables.push(self.table(name)?);
        }
        Ok(tables)
    }

    fn table(&self, name: String) -> Result<Table> {
        let table = text(&name);
        let ours = format!("SELECT name FROM pragma_table_info({table}) ORDER BY name");
        let ours = self.sqlite(&ours)?;
        let of_table = format!(
            "FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = {table}"
        );
        let theirs = self.psql(&format!(
            "SELECT column_name, data_type {of_table} ORDER BY column_name COLLATE \"C\""
        ))?;
        let columns = theirs.lines().filter_map(|line| line.rsplit_once('|'));
        let columns: Vec<_> = columns
            .map(|(name, kind)| Column {
                name: name.to_owned(),
                kind: kind.to_owned(),
            })
            .collect();
        let names = columns.iter().map(|column| column.name.as_str());
        ensure!(
            names.eq(ours.lines()),
            "the table {name} has other columns in Postgres: {}",
            theirs.replace('\n', " ")
        );
        let rows = self.sqlite(&format!("SELECT count(*) FROM {}", quoted(&name)))?;
        let identity = self.psql(&format!(
            "SELECT column_name {of_table} AND (is_identity = 'YES' OR column_default LIKE 'nextval(%')"
        ))?;
        let mut sequence = None;
        if let Some(column) = identity.lines().next() {
            let (max, from) = (quoted(column), quoted(&name));
            let highest = format!("SELECT coalesce(max({max}), 0) FROM {from}");
            let mut highest: i64 = self.sqlite(&highest)?.trim().parse()?;
            // There is no such table without an AUTOINCREMENT.
            let given = format!("SELECT seq FROM sqlite_sequence WHERE name = {table}");
            if let Ok(given) = self.sqlite(&given) {
                highest = highest.max(given.trim().parse().unwrap_or(0));
            }
            sequence = Some((column.to_owned(), highest));
        }
        Ok(Table {
            name,
            rows: rows.trim().parse()?,
            columns,
            sequence,
        })
    }

    /// Copies all tables in one transaction, and compares them before its end.
    fn copy(&self, tables: &[Table], state: State) -> Result<Vec<Checksum>> {
        let mut target = Target::open(&self.url)?;
        let names: Vec<_> = tables.iter().map(|table| quoted(&table.name)).collect();
        target.send(&format!("BEGIN; TRUNCATE {};", names.join(", ")))?;
        let all: u64 = tables.iter().map(|table| table.rows).sum();
        let mut progress = Progress::new(all);
        let mut sums = Vec::new();
        for table in tables {
            let columns: Vec<_> = table.columns.iter().map(|it| quoted(&it.name)).collect();
            let (name, listed) = (quoted(&table.name), columns.join(", "));
            target.send(&format!("COPY {name} ({listed}) FROM STDIN;"))?;
            let fields: Vec<_> = table.columns.iter().map(Column::read).collect();
            let row = fields.join(" || char(9) || ");
            let query = format!("SELECT hex({row}) FROM {name}");
            let mut sum = Checksum::default();
            let mut source = Source::open(&self.file, &query)?;
            while let Some(row) = source.next()? {
                ensure!(
                    !row.contains(&0),
                    "{}: Postgres cannot have a text with a NUL, or a BLOB in a column that is not bytea. \
                     Nothing was copied",
                    table.name
                );
                sum.add(table, row);
                target.row(row)?;
                progress.step();
            }
            source.finish()?;
            target.send("\\.")?;
            if let Some((column, highest)) = &table.sequence
                && *highest > 0
            {
                target.send(&format!(
                    "SELECT setval(pg_get_serial_sequence({}, {}), {highest}) \\g /dev/null",
                    text(&name),
                    text(column)
                ))?;
            }
            sums.push(sum);
        }
        progress.end();
        for (table, expected) in tables.iter().zip(&sums) {
            let found = target.checksum(table)?;
            ensure!(
                found == *expected,
                "{}: {} rows in SQLite and {} in Postgres, with different contents. Nothing was copied",
                table.name,
                expected.rows,
                found.rows
            );
        }
        ensure!(
            self.state() == state,
            "the SQLite database has changed meanwhile: stop the service. Nothing was copied"
        );
        target.commit()?;
        Ok(sums)
    }
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
