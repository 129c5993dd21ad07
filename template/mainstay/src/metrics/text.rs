//! The text format of Prometheus: a family at a time, each with what it means and its samples.

use std::fmt::{Display, Write};

use super::catalog::{Family, Kind};

/// What is to be written, so far.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

/// A histogram as it is just now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counts {
    /// The upper bound of each bucket, and how much is in it alone.
    pub(crate) buckets: Vec<(f64, u64)>,
    /// What is beyond the last bound.
    pub(crate) beyond: u64,
    pub(crate) sum: f64,
}

impl Text {
    /// Begins with a family, once. Its samples come next.
    pub(crate) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family {
            name, kind, help, ..
        } = family;
        let kind = kind.as_str();
        // Writing to a string does not fail, here and below.
        _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Samples {
            text: &mut self.0,
            family,
        }
    }

    /// Families that are in this format already.
    pub(crate) fn append(&mut self, families: &str) {
        self.0 += families;
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// The samples of one family. The values of labels stand in the order in which the family has them.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    text: &'a mut String,
    family: &'static Family,
}

impl Samples<'_> {
    pub(crate) fn sample(&mut self, labels: &[&str], value: impl Display) {
        debug_assert_ne!(self.family.kind, Kind::Histogram);
        self.line("", labels, None, value);
    }

    /// A sample that nobody may have been able to take.
    pub(crate) fn maybe(&mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.sample(&[], value);
        }
    }

    /// 1 for the state that something is in, and 0 for all others. The state is the last label.
    pub(crate) fn state(&mut self, labels: &[&str], states: &[&str], current: &str) {
        for state in states {
            let labels = [labels, &[state]].concat();
            self.sample(&labels, u8::from(*state == current));
        }
    }

    pub(crate) fn histogram(&mut self, labels: &[&str], counts: &Counts) {
        debug_assert_eq!(self.family.kind, Kind::Histogram);
        let mut count = 0;
        for (bound, more) in &counts.buckets {
            count += more;
            self.line("_bucket", labels, Some(bound), count);
        }
        count += counts.beyond;
        self.line("_bucket", labels, Some(&"+Inf"), count);
        self.line("_sum", labels, None, counts.sum);
        self.line("_count", labels, None, count);
    }

    fn line(
        &mut self,
        suffix: &str,
        values: &[&str],
        le: Option<&dyn Display>,
        value: impl Display,
    ) {
        let names = self.family.labels;
        debug_assert_eq!(names.len(), values.len(), "{}", self.family.name);
        let text = &mut *self.text;
        _ = write!(text, "{}{suffix}", self.family.name);
        let mut separator = '{';
        for (name, value) in names.iter().zip(values) {
            _ = write!(text, "{separator}{name}=\"");
            escape(text, value);
            text.push('"');
            separator = ',';
        }
        if let Some(bound) = le {
            _ = write!(text, "{separator}le=\"{bound}\"");
            separator = ',';
        }
        let end = if separator == ',' { "}" } else { "" };
        _ = writeln!(text, "{end} {value}");
    }
}

fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(c),
        }
    }
}
