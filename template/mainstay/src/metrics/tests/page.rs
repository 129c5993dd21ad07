//! `docs/metrics.md`, which is generated from the catalog.

use std::fmt::Write;
use std::fs;

use crate::metrics::catalog::{Family, SECTIONS};
use crate::testing::check_committed;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");

/// From here on, the page is written by hand.
const BY_HAND: &str = "## Your own\n";

const OPENING: &str = "\
# Metrics

`GET /metrics` on the operator's listener returns these metrics in the text format of Prometheus. If
`operator.token` is set, the request needs it.

The number of series depends on routes, tasks, checks and pools only: a path without a route counts as
`unmatched`, a method that HTTP does not define as `other`, and `status` is a class, such as `2xx`.

The tables are generated from `src/metrics/catalog.rs`, by `UPDATE=1 cargo test -p mainstay --lib metrics`.
";

fn tables() -> String {
    let mut page = OPENING.to_owned();
    for (section, families) in SECTIONS {
        _ = writeln!(page, "\n## {section}\n");
        page += "| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n";
        for family in *families {
            let labels = family.labels.iter().map(|name| format!("`{name}`"));
            let cells = [
                format!("`{}`", family.name),
                family.kind.to_owned(),
                unit(family).to_owned(),
                labels.collect::<Vec<_>>().join(", "),
                family.help.to_owned(),
            ];
            let row = cells.map(|cell| format!(" {cell} ").replace("  ", " "));
            _ = writeln!(page, "|{}|", row.join("|"));
        }
    }
    page.push('\n');
    page
}

/// The unit in the name; a number of things has none.
fn unit(family: &Family) -> &'static str {
    let name = family.name.strip_suffix("_total").unwrap_or(family.name);
    match name.rsplit('_').next() {
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        Some(_) | None => "",
    }
}

#[test]
fn metrics_page_matches_the_catalog() {
    let page = fs::read_to_string(PAGE).unwrap_or_default();
    let (_, by_hand) = page.split_once(BY_HAND).unwrap_or_default();
    check_committed(PAGE, &format!("{}{BY_HAND}{by_hand}", tables()));
}

#[test]
fn metrics_have_help_and_histograms_a_unit() {
    for family in SECTIONS.iter().flat_map(|(_, families)| *families) {
        assert!(family.help.ends_with('.'), "{}", family.name);
        // The bounds of buckets need a unit.
        let has_unit = !unit(family).is_empty();
        assert!(has_unit || family.kind != "histogram", "{}", family.name);
    }
}
