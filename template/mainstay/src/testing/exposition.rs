//! The text format of Prometheus, read as strictly as it can be: what is not in order is a panic.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::catalog;

/// What a scrape gives.
#[derive(Debug)]
pub struct Exposition {
    /// The families, each with its kind.
    pub families: BTreeMap<String, String>,
    /// Each series as it is written, with its labels, and its value.
    pub series: BTreeMap<String, String>,
}

/// The buckets of a histogram: how far they have been counted, and whether all are there.
#[derive(Debug, Default)]
struct Buckets {
    bound: Option<f64>,
    count: f64,
}

impl Exposition {
    /// Reads it: each family has its HELP, its TYPE and then its samples, and each series is there once.
    pub fn read(text: &str) -> Self {
        let mut read = Self {
            families: BTreeMap::new(),
            series: BTreeMap::new(),
        };
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut helped = None;
        let mut family = (String::new(), String::new());
        let mut buckets = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("words of help");
                assert!(!words.trim().is_empty(), "no help: {line}");
                helped = Some(name.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a kind");
                assert_eq!(
                    helped.take().as_deref(),
                    Some(name),
                    "help comes first: {line}"
                );
                assert!(is_name(name), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                family = (name.to_owned(), kind.to_owned());
                let before = read.families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "a family that is there twice: {line}");
            } else {
                read.sample(line, &family, &mut buckets);
            }
        }
        assert_eq!(helped, None, "help for nothing");
        read
    }

    /// The families that are the service's own: all but those in the catalog of the machinery.
    pub fn own_families(&self) -> BTreeSet<String> {
        let known = catalog::SECTIONS.iter().flat_map(|(_, families)| *families);
        let known: BTreeSet<_> = known.map(|family| family.name).collect();
        let names = self.families.keys();
        names
            .filter(|name| !known.contains(&***name))
            .cloned()
            .collect()
    }

    /// The value of a series, which is there.
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

    fn sample(
        &mut self,
        line: &str,
        (family, kind): &(String, String),
        buckets: &mut BTreeMap<String, Buckets>,
    ) {
        let (series, text) = line.rsplit_once(' ').expect("a value");
        let value: f64 = text.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(value >= 0.0, "{line}");
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (
                name,
                labels.strip_suffix('}').expect("the end of the labels"),
            ),
            None => (series, ""),
        };
        let mut labels = labels_of(labels, line);
        let suffix = name.strip_prefix(family.as_str());
        let suffix = suffix.unwrap_or_else(|| panic!("not of the family {family}: {line}"));
        if kind == "histogram" {
            let bound = labels.remove("le");
            let buckets = buckets.entry(format!("{family}{labels:?}")).or_default();
            match (suffix, bound) {
                ("_bucket", Some(bound)) => buckets.add(&bound, value, line),
                ("_sum", None) => {}
                ("_count", None) => {
                    assert_eq!(
                        buckets.bound,
                        Some(f64::INFINITY),
                        "the last bucket: {line}"
                    );
                    assert_eq!(
                        buckets.count.total_cmp(&value),
                        std::cmp::Ordering::Equal,
                        "{line}"
                    );
                }
                _ => panic!("no such sample in a histogram: {line}"),
            }
        } else {
            assert_eq!(suffix, "", "{line}");
        }
        let before = self.series.insert(series.to_owned(), text.to_owned());
        assert_eq!(before, None, "a series that is there twice: {line}");
    }
}

impl Buckets {
    fn add(&mut self, bound: &str, count: f64, line: &str) {
        let bound: f64 = bound.parse().unwrap_or_else(|_| panic!("no bound: {line}"));
        assert!(self.bound.is_none_or(|before| before < bound), "{line}");
        assert!(
            self.count <= count,
            "fewer than in the bucket before: {line}"
        );
        *self = Self {
            bound: Some(bound),
            count,
        };
    }
}

/// Labels as they are written, between the braces.
fn labels_of(text: &str, line: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label");
        assert!(is_name(name) && !name.contains(':'), "{line}");
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().expect("the end of a value") {
                (end, '"') => break end,
                (_, '\\') => value.push(match chars.next().expect("an escape").1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    c => panic!("no escape: {c:?} in {line}"),
                }),
                (_, c) => value.push(c),
            }
        };
        let before = labels.insert(name.to_owned(), value);
        assert_eq!(before, None, "a label that is there twice: {line}");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or_else(|| {
            assert!(rest.is_empty(), "{line}");
            rest
        });
    }
    labels
}

fn is_name(name: &str) -> bool {
    let of = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.chars().all(of) && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// The families that a page documents, in the first column of its tables.
pub fn documented(page: &str) -> BTreeSet<String> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split_once('`'));
    names.map(|(name, _)| name.to_owned()).collect()
}
