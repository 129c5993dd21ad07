//! The text format of Prometheus, read strictly: a violation of the format is a panic.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::catalog;

/// The metrics of one scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    /// The kind of each family.
    pub families: BTreeMap<String, String>,
    /// The value of each series, by its name with labels, as it is written.
    pub series: BTreeMap<String, String>,
}

impl Exposition {
    /// Checks that each family has its HELP, its TYPE and then its samples, and that each series is there once.
    pub fn read(text: &str) -> Self {
        let mut read = Self::default();
        let mut family = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().expect("a name");
                continue;
            }
            let before = if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').expect("a kind");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert_eq!(name, family, "no help before: {line}");
                read.families.insert(name.to_owned(), kind.to_owned())
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let is_valid = value.parse::<f64>().is_ok_and(|number| number >= 0.0);
                assert!(is_valid && series.starts_with(family), "{family}: {line}");
                read.series.insert(series.to_owned(), value.to_owned())
            };
            assert_eq!(before, None, "twice: {line}");
        }
        read
    }

    /// The families of the service itself: all but those in the catalog of the machinery.
    pub fn own_families(&self) -> BTreeSet<String> {
        let mut own: BTreeSet<_> = self.families.keys().cloned().collect();
        for family in catalog::SECTIONS.iter().flat_map(|(_, families)| *families) {
            own.remove(family.name);
        }
        own
    }

    /// The value of a series that counts, which must exist.
    pub fn count(&self, series: &str) -> u64 {
        let value = self.series.get(series).and_then(|it| it.parse().ok());
        value.unwrap_or_else(|| panic!("no number {series} in {:#?}", self.series))
    }
}

/// The families that a page documents, in the first column of its tables.
pub fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split_once('`'));
    names.map(|(name, _)| name.to_owned()).collect()
}
