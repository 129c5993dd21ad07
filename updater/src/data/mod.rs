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
use std::path::PathBuf;

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
    sequence: Option<(String, u64)>,
}

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
        let sqlite = |query: &str| sqlite(&self.file, query);
        let versions = "SELECT version FROM _sqlx_migrations ORDER BY version";
        let migrated = sqlite(versions).context("the SQLite database is not one of a service")?;
        let same = psql(&self.url, versions).context("the Postgres database cannot be used")?;
        ensure!(
            migrated == same,
            "the databases have different migrations. Run `migrate` of the same version of the service on both"
        );
        let tables = self.tables()?;
        let mut there = 0;
        for table in &tables {
            let count = psql(
                &self.url,
                &format!("SELECT count(*) FROM {}", quoted(&table.name)),
            )?;
            there += count.trim().parse::<u64>()?;
        }
        ensure!(
            self.replace || there <= NEW,
            "the Postgres database has {there} rows already. To delete them, add --replace"
        );
        let copied = self.copy(&tables)?;
        for (table, sum) in tables.iter().zip(copied) {
            println!(
                "{}: {} rows, checksum {:032x} on both sides",
                table.name, sum.rows, sum.sum
            );
        }
        Ok(())
    }

    /// The tables, those that others refer to first.
    fn tables(&self) -> Result<Vec<Table>> {
        let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                     AND name <> '_sqlx_migrations' ORDER BY name";
        let names = sqlite(&self.file, names)?;
        let mut pending: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names.lines() {
            let parents = format!(
                "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list({})",
                text(name)
            );
            let parents = sqlite(&self.file, &parents)?;
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
        let listed = format!(
            "SELECT name FROM pragma_table_info({}) ORDER BY name",
            text(&name)
        );
        let ours = sqlite(&self.file, &listed)?;
        let listed = format!(
            "SELECT column_name, data_type FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name = {} ORDER BY column_name COLLATE \"C\"",
            text(&name)
        );
        let theirs = psql(&self.url, &listed)?;
        let columns = theirs.lines().filter_map(|line| line.rsplit_once('|'));
        let columns: Vec<_> = columns
            .map(|(name, kind)| Column {
                name: name.to_owned(),
                kind: kind.to_owned(),
            })
            .collect();
        ensure!(
            columns
                .iter()
                .map(|column| column.name.as_str())
                .eq(ours.lines()),
            "the table {name} has other columns in Postgres: {}",
            theirs.replace('\n', " ")
        );
        let rows = sqlite(
            &self.file,
            &format!("SELECT count(*) FROM {}", quoted(&name)),
        )?;
        let identity = format!(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() \
             AND table_name = {} AND (is_identity = 'YES' OR column_default LIKE 'nextval(%')",
            text(&name)
        );
        let identity = psql(&self.url, &identity)?;
        let sequence = match identity.lines().next() {
            Some(column) => {
                let highest = format!(
                    "SELECT coalesce(max({}), 0) FROM {}",
                    quoted(column),
                    quoted(&name)
                );
                let mut highest: u64 = sqlite(&self.file, &highest)?.trim().parse()?;
                let given = format!(
                    "SELECT seq FROM sqlite_sequence WHERE name = {}",
                    text(&name)
                );
                // There is no such table without an AUTOINCREMENT.
                if let Ok(given) = sqlite(&self.file, &given) {
                    highest = highest.max(given.trim().parse().unwrap_or(0));
                }
                Some((column.to_owned(), highest))
            }
            None => None,
        };
        Ok(Table {
            name,
            rows: rows.trim().parse()?,
            columns,
            sequence,
        })
    }

    /// Copies all tables in one transaction, and compares them before its end.
    fn copy(&self, tables: &[Table]) -> Result<Vec<Checksum>> {
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
            let fields: Vec<_> = columns.iter().map(|column| field(column)).collect();
            let query = format!("SELECT {} FROM {name}", fields.join(" || char(9) || "));
            let mut sum = Checksum::default();
            let mut source = Source::open(&self.file, &query)?;
            while let Some(row) = source.next()? {
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
        target.commit()?;
        Ok(sums)
    }
}

/// An expression of SQLite for a column, as the text format of COPY writes it.
fn field(column: &str) -> String {
    let by = [
        ("92", "char(92, 92)"),
        ("9", "'\\t'"),
        ("10", "'\\n'"),
        ("13", "'\\r'"),
    ];
    let escaped = by.iter().fold(column.to_owned(), |inner, (code, by)| {
        format!("replace({inner}, char({code}), {by})")
    });
    format!(
        "CASE typeof({column}) WHEN 'null' THEN '\\N' WHEN 'blob' THEN '\\\\x' || lower(hex({column})) \
         WHEN 'real' THEN printf('%!.17g', {column}) ELSE {escaped} END"
    )
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
