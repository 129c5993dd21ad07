//! The schemas of both databases are equivalent: the same statements work on both.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use harness::postgres::Postgres;
use harness::repository;

/// Describes each column and whether it is nullable, each primary key, and each unique constraint.
const OF_SQLITE: &str = "
    SELECT printf('%s.%s%s', t.name, c.name, iif(c.\"notnull\" OR c.pk, ' not null', ''))
    FROM sqlite_schema t, pragma_table_info(t.name) c
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'
    UNION ALL
    SELECT printf('%s primary key (%s)', name, group_concat(column, ', '))
    FROM (
        SELECT t.name, c.name AS column
        FROM sqlite_schema t, pragma_table_info(t.name) c
        WHERE t.type = 'table' AND c.pk ORDER BY t.name, c.pk
    )
    GROUP BY name
    UNION ALL
    SELECT printf('%s unique (%s)%s', name, group_concat(column, ', '), iif(partial, ' partial', ''))
    FROM (
        SELECT t.name, i.name AS key, i.partial, coalesce(c.name, 'an expression') AS column
        FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_info(i.name) c
        WHERE t.type = 'table' AND i.\"unique\" AND i.origin <> 'pk' ORDER BY i.name, c.seqno
    )
    GROUP BY name, key, partial;";

const OF_POSTGRES: &str = "
    SELECT format('%s.%s%s', table_name, column_name,
        CASE is_nullable WHEN 'NO' THEN ' not null' END)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT format('%s %s (%s)%s', t.relname,
        CASE WHEN i.indisprimary THEN 'primary key' ELSE 'unique' END,
        string_agg(coalesce(c.attname, 'an expression'), ', ' ORDER BY k.place),
        CASE WHEN i.indpred IS NOT NULL THEN ' partial' END)
    FROM pg_index i
    JOIN pg_class t ON t.oid = i.indrelid AND t.relnamespace = 'public'::regnamespace
    CROSS JOIN unnest(i.indkey) WITH ORDINALITY k (number, place)
    LEFT JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum = k.number AND k.number > 0
    WHERE i.indisunique AND k.place <= i.indnkeyatts
    GROUP BY i.indexrelid, t.relname, i.indisprimary, i.indpred IS NOT NULL;";

#[tokio::test]
async fn both_databases_have_the_same_schema() {
    let postgres = Postgres::start().await.expect("PostgreSQL starts");
    for (package, place) in [
        ("hello", "migrations"),
        ("monitor", "monitor/migrations"),
        ("mainstay", "mainstay/migrations"),
    ] {
        let place = repository::template().join(place);
        let [names, same] = ["sqlite", "postgres"].map(|database| names(&place.join(database)));
        assert!(!names.is_empty(), "{package}: no migrations");
        assert_eq!(names, same, "{package}: the migrations");

        let sqlite = on_sqlite(&place.join("sqlite"), OF_SQLITE);
        let postgres = on_postgres(&postgres, package, &place.join("postgres")).await;

        assert!(sqlite.len() > 2, "{package}: {sqlite:?}");
        assert_eq!(sqlite, postgres, "{package}: SQLite, then Postgres");
    }
}

/// Proves that the comparison covers every kind of constraint, with a schema that has all of them.
#[tokio::test]
async fn schema_difference_is_detected() {
    const SCHEMA: &str = "
        CREATE TABLE a (x INTEGER NOT NULL, y TEXT, z TEXT, PRIMARY KEY (z, x), UNIQUE (y, x));
        CREATE TABLE b (x INTEGER PRIMARY KEY, y TEXT);
        CREATE UNIQUE INDEX b_y ON b (lower(y), x) WHERE y <> '';
        CREATE INDEX b_x ON b (x);";
    let place = tempfile::tempdir().expect("a temporary directory");
    fs::write(place.path().join("0001_all.sql"), SCHEMA).expect("the file can be written");
    let postgres = Postgres::start().await.expect("PostgreSQL starts");

    let sqlite = on_sqlite(place.path(), OF_SQLITE);

    let expected = [
        "a primary key (z, x)",
        "a unique (y, x)",
        "a.x not null",
        "a.y",
        "a.z not null",
        "b primary key (x)",
        "b unique (an expression, x) partial",
        "b.x not null",
        "b.y",
    ];
    assert_eq!(sqlite, expected.map(str::to_owned).into());
    assert_eq!(sqlite, on_postgres(&postgres, "all", place.path()).await);
}

fn names(migrations: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(migrations).expect("there are migrations");
    files
        .map(|file| file.expect("a file").file_name().display().to_string())
        .collect()
}

/// Every migration, in order.
fn statements(migrations: &Path) -> Vec<String> {
    let read = |name: &String| fs::read_to_string(migrations.join(name)).expect("a text file");
    names(migrations).iter().map(read).collect()
}

fn on_sqlite(migrations: &Path, query: &str) -> BTreeSet<String> {
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-bail", "-batch", "-noheader", "-list", ":memory:"]);
    // A text that began with a comment would be an option.
    sqlite.arg(format!("\n{}{query}", statements(migrations).concat()));
    let output = sqlite.output().expect("sqlite3 is installed");
    assert!(output.status.success(), "{}", migrations.display());
    lines(&String::from_utf8_lossy(&output.stdout))
}

async fn on_postgres(postgres: &Postgres, database: &str, migrations: &Path) -> BTreeSet<String> {
    let made = postgres.create_database(database).await;
    made.expect("a database can be made");
    for statements in statements(migrations) {
        let migrated = postgres.query(database, &statements).await;
        migrated.expect("it can be migrated");
    }
    let schema = postgres.query(database, OF_POSTGRES).await;
    lines(&schema.expect("it can be asked"))
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}
