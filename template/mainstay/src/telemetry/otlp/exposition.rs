//! Reads the page of metrics that the operator's listener shows, so that there is one source of what is
//! exported and what is shown: `metrics-exporter-prometheus` gives what the service counts itself only
//! as such a page.
//!
//! The page is our own, in the text format of Prometheus. A line that is not understood is passed over.

/// A family of metrics.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Family<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) kind: &'a str,
    pub(super) series: Vec<Series<'a>>,
}

/// One of its series, by labels.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Series<'a> {
    pub(super) labels: Vec<(&'a str, String)>,
    /// Of a histogram: the sum.
    pub(super) value: f64,
    /// Of a histogram: the bounds of its buckets, and how much is up to each.
    pub(super) buckets: Vec<(f64, u64)>,
    pub(super) count: u64,
}

/// Every family that is on the page.
pub(super) fn read(page: &str) -> Vec<Family<'_>> {
    let mut families = Vec::<Family<'_>>::new();
    let mut help = None;
    for line in page.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            help = said.split_once(' ');
        } else if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|said| said.split_once(' '))
        {
            let help = help.take().filter(|(of, _)| *of == name);
            families.push(Family {
                name,
                help: help.map_or("", |(_, help)| help),
                kind,
                series: Vec::new(),
            });
        } else if let Some(family) = families.last_mut() {
            _ = family.take(line);
        }
    }
    families
}

impl<'a> Family<'a> {
    /// Takes a sample: `name{label="value"} 1`.
    fn take(&mut self, line: &'a str) -> Option<()> {
        let (what, value) = line.rsplit_once(' ')?;
        let value: f64 = value.parse().ok()?;
        let rest = what.strip_prefix(self.name)?;
        let (part, labels) = match rest.split_once('{') {
            Some((part, labels)) => (part, labels.strip_suffix('}')?),
            None => (rest, ""),
        };
        let mut labels = read_labels(labels)?;
        let bound = match (part, labels.last()) {
            ("_bucket", Some(("le", _))) => labels.pop().map(|(_, bound)| bound),
            _ => None,
        };
        let series = self.series(labels);
        match (part, bound) {
            ("" | "_sum", None) => series.value = value,
            ("_count", None) => series.count = whole(value),
            ("_bucket", Some(bound)) => match bound.parse() {
                Ok(bound) if f64::is_finite(bound) => series.buckets.push((bound, whole(value))),
                _ => {}
            },
            _ => return None,
        }
        Some(())
    }

    /// The last one, if it has these labels, or a new one: what belongs together stands together.
    fn series(&mut self, labels: Vec<(&'a str, String)>) -> &mut Series<'a> {
        let same = self.kind == "histogram"
            && self.series.last().is_some_and(|last| last.labels == labels);
        if !same {
            self.series.push(Series {
                labels,
                ..Series::default()
            });
        }
        let last = self.series.len() - 1;
        &mut self.series[last]
    }
}

/// `name="value",name="value"`
fn read_labels(mut text: &str) -> Option<Vec<(&str, String)>> {
    let mut labels = Vec::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (end, '"') => break end,
                (_, '\\') => value.push(match characters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name, value));
        let rest = &rest[end + 1..];
        text = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(labels)
}

/// A number of things.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it was a whole number when it was written"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP requests_total How many, by {route}.
# TYPE requests_total counter
requests_total{route="/a/{id}",note="a \"b\", \\n"} 3
requests_total{route="/b"} 4

# HELP idle Nothing in it.
# TYPE idle gauge
# HELP time_seconds How long.
# TYPE time_seconds histogram
time_seconds_bucket{route="/a",le="0.5"} 1
time_seconds_bucket{route="/a",le="1"} 3
time_seconds_bucket{route="/a",le="+Inf"} 4
time_seconds_sum{route="/a"} 2.5
time_seconds_count{route="/a"} 4
time_seconds_bucket{le="0.5"} 0
time_seconds_bucket{le="+Inf"} 0
time_seconds_sum 0
time_seconds_count 0
nonsense
"#;

    #[test]
    fn a_page_is_read_as_it_was_meant() {
        let families = read(PAGE);
        let names: Vec<_> = families
            .iter()
            .map(|family| (family.name, family.kind))
            .collect();
        assert_eq!(
            names,
            [
                ("requests_total", "counter"),
                ("idle", "gauge"),
                ("time_seconds", "histogram")
            ]
        );
        assert_eq!(families[0].help, "How many, by {route}.");
        let first = &families[0].series[0];
        let labels = [("route", "/a/{id}"), ("note", r#"a "b", \n"#)];
        assert_eq!(
            first.labels,
            labels.map(|(name, value)| (name, value.to_owned()))
        );
        let values: Vec<_> = families[0]
            .series
            .iter()
            .map(|series| series.value)
            .collect();
        assert_eq!(values, [3.0, 4.0]);
        assert!(families[1].series.is_empty());
        let [labelled, bare] = &families[2].series[..] else {
            panic!("{families:?}");
        };
        assert_eq!(labelled.buckets, [(0.5, 1), (1.0, 3)]);
        assert_eq!((labelled.value, labelled.count), (2.5, 4));
        assert_eq!(
            (bare.labels.len(), bare.buckets.len(), bare.count),
            (0, 1, 0)
        );
    }
}
