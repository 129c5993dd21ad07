//! Writes the text format of Prometheus: each family with its help and its kind, then its samples.

use std::fmt::{Display, Write};

use super::catalog::Family;
use super::histogram::Histogram;

/// The text so far. Writing to a string does not fail, so that the results of `write!` are ignored.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// A family without labels.
    pub(crate) fn value(&mut self, family: &'static Family, value: impl Display) {
        self.maybe(family, Some(value));
    }

    pub(crate) fn maybe(&mut self, family: &'static Family, value: Option<impl Display>) {
        let mut samples = self.family(family);
        if let Some(value) = value {
            samples.sample(&[], value);
        }
    }

    /// A family whose only label is the name of an item.
    pub(crate) fn each<'i, T: 'i, V: Display>(
        &mut self,
        family: &'static Family,
        items: impl IntoIterator<Item = (&'i str, &'i T)>,
        value: impl Fn(&T) -> V,
    ) {
        let mut samples = self.family(family);
        for (name, item) in items {
            samples.sample(&[name], value(item));
        }
    }

    /// Begins a family of the machinery. Its samples must follow.
    pub(crate) fn family(&mut self, family: &'static Family) -> Samples<'_> {
        self.head(family.name, family.kind, Some(family.help));
        Samples { text: self, family }
    }

    pub(super) fn head(&mut self, name: &str, kind: &str, help: Option<&str>) {
        let name = legal(name);
        if let Some(help) = help {
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            _ = writeln!(self.0, "# HELP {name} {help}");
        }
        _ = writeln!(self.0, "# TYPE {name} {kind}");
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0 += &legal(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            _ = write!(self.0, "{before}{}=\"{text}\"", legal(label));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        _ = writeln!(self.0, "{after} {value}");
    }

    pub(super) fn histogram(&mut self, name: &str, labels: &[(&str, &str)], of: &Histogram) {
        let mut total = 0;
        for (bound, count) in of.buckets() {
            total += count;
            let labels = [labels, &[("le", &bound)]].concat();
            self.sample(&format!("{name}_bucket"), &labels, total);
        }
        self.sample(&format!("{name}_sum"), labels, of.sum());
        self.sample(&format!("{name}_count"), labels, total);
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

/// The samples of one family. The values of the labels are in the order of [`Family::labels`].
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    text: &'a mut Text,
    family: &'static Family,
}

impl Samples<'_> {
    pub(crate) fn sample(&mut self, labels: &[&str], value: impl Display) {
        let labels = self.named(labels);
        self.text.sample(self.family.name, &labels, value);
    }

    /// 1 for the current state, and 0 for all others. The state is the last label.
    pub(crate) fn state(&mut self, labels: &[&str], states: &[&str], current: &str) {
        for state in states {
            let labels = [labels, &[state]].concat();
            self.sample(&labels, u8::from(*state == current));
        }
    }

    /// A histogram, unless nothing was recorded.
    pub(crate) fn histogram(&mut self, labels: &[&str], recorded: Option<&Histogram>) {
        if let Some(histogram) = recorded {
            let labels = self.named(labels);
            self.text.histogram(self.family.name, &labels, histogram);
        }
    }

    fn named<'l>(&self, values: &[&'l str]) -> Vec<(&'static str, &'l str)> {
        let names = self.family.labels;
        debug_assert_eq!(names.len(), values.len(), "{}", self.family.name);
        names.iter().copied().zip(values.iter().copied()).collect()
    }
}

/// A name without the characters that the text format does not allow.
fn legal(name: &str) -> String {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.replace(|c| !is_legal(c), "_")
}
