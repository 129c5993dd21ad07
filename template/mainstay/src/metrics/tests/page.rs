//! `docs/metrics.md`, which is written from the catalog.

use std::fmt::Write;
use std::{env, fs};

use crate::metrics::catalog::{Kind, SECTIONS};
use crate::testing::documented;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

/// From here on, the page is written by hand.
const BY_HAND: &str = "## Your own\n";

const OPENING: &str = "\
# Metrics

`GET /metrics` on the operator's listener gives what is below, in the text format of Prometheus. Where
`operator.token` is set, it is needed here as well.

There are no more series than there are routes, tasks, checks and pools: a path that nothing answers to
is the route `unmatched`, a method that is not HTTP's own is `other`, and `status` is a class, such as
`2xx`.

The tables are written from `src/metrics/catalog.rs`, by `UPDATE=1 cargo test -p mainstay --lib metrics`.
";

fn tables() -> String {
    let mut page = OPENING.to_owned();
    for (section, families) in SECTIONS {
        _ = write!(
            page,
            "\n## {section}\n\n| metric | kind | unit | labels | what it is |\n"
        );
        page += "|---|---|---|---|---|\n";
        for family in *families {
            let labels: Vec<_> = family
                .labels
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let cells = [
                format!("`{}`", family.name),
                family.kind.as_str().to_owned(),
                family.unit().to_owned(),
                labels.join(", "),
                family.help.to_owned(),
            ];
            let row = cells.map(|cell| format!(" {cell} ").replace("  ", " "));
            _ = writeln!(page, "|{}|", row.join("|"));
        }
    }
    page.push('\n');
    page
}

#[test]
fn the_page_of_metrics_says_what_there_is() {
    let page = fs::read_to_string(PAGE).unwrap_or_default();
    let (before, by_hand) = page.split_once(BY_HAND).unwrap_or((&page, ""));
    let tables = tables();
    if env::var_os("UPDATE").is_some() {
        fs::write(PAGE, format!("{tables}{BY_HAND}{by_hand}")).unwrap();
        return;
    }
    assert!(
        before == tables,
        "docs/metrics.md is not what src/metrics/catalog.rs says; to write it anew: \
         UPDATE=1 cargo test -p mainstay --lib metrics"
    );
}

#[test]
fn each_metric_has_a_name_of_its_own_and_says_what_it_is() {
    let families: Vec<_> = SECTIONS
        .iter()
        .flat_map(|(_, families)| *families)
        .collect();
    assert_eq!(documented(&tables()).len(), families.len());
    for family in families {
        assert!(
            family.help.ends_with('.'),
            "{}: {}",
            family.name,
            family.help
        );
        let only_grows = family.kind.as_str() == "counter";
        assert_eq!(
            only_grows,
            family.name.ends_with("_total"),
            "{}",
            family.name
        );
    }
}

#[test]
fn what_is_measured_is_told_in_a_base_unit() {
    const OTHERS: &[&str] = &[
        "ns",
        "us",
        "ms",
        "nanos",
        "micros",
        "millis",
        "nanoseconds",
        "microseconds",
        "milliseconds",
        "minutes",
        "hours",
        "days",
        "bits",
        "kb",
        "kib",
        "mb",
        "mib",
        "kilobytes",
        "megabytes",
        "percent",
    ];
    for family in SECTIONS.iter().flat_map(|(_, families)| *families) {
        let (name, unit) = (family.name, family.unit());
        let other = name.split('_').find(|word| OTHERS.contains(word));
        assert_eq!(other, None, "{name}");
        // Buckets are of something: nobody could read their bounds without its unit.
        if family.kind == Kind::Histogram {
            assert!(
                ["seconds", "bytes"].contains(&unit),
                "{name} is in {unit:?}"
            );
            assert!(name.ends_with(&format!("_{unit}")), "{name}");
        }
    }
}
