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

/// The last bucket of a histogram.
#[derive(Debug, Default, PartialEq)]
struct Bucket {
    /// The name and the labels, without `le`.
    series: String,
    bound: f64,
    count: f64,
}

impl Exposition {
    /// Reads it: each family has its HELP, its TYPE and then its samples, and each series is there once.
    pub fn read(text: &str) -> Self {
        let mut read = Self::default();
        assert!(text.ends_with('\n'), "the last line has no end");
        let (mut family, mut kind) = ("", "");
        let mut helped = None;
        let mut bucket = Bucket::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').expect("a help text");
                assert!(!help.trim().is_empty(), "no help: {line}");
                helped = Some(name);
            } else if let Some(declared) = line.strip_prefix("# TYPE ") {
                (family, kind) = declared.split_once(' ').expect("a kind");
                assert_eq!(helped.take(), Some(family), "no help before: {line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
                let before = read.families.insert(family.to_owned(), kind.to_owned());
                assert_eq!(before, None, "a duplicate family: {line}");
            } else {
                read.sample(line, family, kind, &mut bucket);
            }
        }
        assert_eq!(helped, None, "help without a type");
        read
    }

    /// The families of the service itself: all but those in the catalog of the machinery.
    pub fn own_families(&self) -> BTreeSet<String> {
        let known = catalog::SECTIONS.iter().flat_map(|(_, families)| *families);
        let known: BTreeSet<_> = known.map(|family| family.name).collect();
        let names = self.families.keys();
        names
            .filter(|name| !known.contains(&***name))
            .cloned()
            .collect()
    }

    /// The value of a series, which must exist.
    pub fn value(&self, series: &str) -> f64 {
        self.text(series).parse().expect("a number")
    }

    /// [`value`](Self::value) of a counter.
    pub fn count(&self, series: &str) -> u64 {
        let value = self.text(series);
        let count = value.parse();
        count.unwrap_or_else(|_| panic!("not a whole number: {series} {value}"))
    }

    fn text(&self, series: &str) -> &str {
        let value = self.series.get(series);
        value.unwrap_or_else(|| panic!("no series {series} in {:#?}", self.series))
    }

    fn sample(&mut self, line: &str, family: &str, kind: &str, bucket: &mut Bucket) {
        let (series, text) = line.rsplit_once(' ').expect("a value");
        let value: f64 = text
            .parse()
            .unwrap_or_else(|_| panic!("not a number: {line}"));
        assert!(value >= 0.0, "{line}");
        let name = series.split('{').next().unwrap_or_default();
        match (kind, name.strip_prefix(family)) {
            ("counter" | "gauge", Some("")) | ("histogram", Some("_sum")) => {}
            ("histogram", Some("_bucket")) => bucket.add(series, value),
            ("histogram", Some("_count")) => {
                let last = (bucket.bound, bucket.count);
                assert_eq!(last, (f64::INFINITY, value), "the last bucket: {line}");
            }
            _ => panic!("not a sample of the {kind} {family}: {line}"),
        }
        let before = self.series.insert(series.to_owned(), text.to_owned());
        assert_eq!(before, None, "a duplicate series: {line}");
    }
}

impl Bucket {
    /// Checks that the next bucket of a histogram contains this one.
    fn add(&mut self, series: &str, count: f64) {
        let (before, bound) = series.split_once("le=\"").expect("a bound");
        let (bound, after) = bound.split_once('"').expect("the end of a bound");
        let next = Self {
            series: format!("{before}{after}"),
            bound: bound.parse().expect("a number"),
            count,
        };
        if next.series == self.series {
            assert!(self.bound < next.bound, "the bounds do not grow: {series}");
            assert!(
                self.count <= count,
                "fewer than in the bucket before: {series}"
            );
        }
        *self = next;
    }
}

/// The families that a page documents, in the first column of its tables.
pub fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split_once('`'));
    names.map(|(name, _)| name.to_owned()).collect()
}
