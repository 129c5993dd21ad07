//! What is sent to a collector, and what it answers: the messages of OTLP 1, field by field.
//!
//! The numbers are those of opentelemetry-proto's `trace.proto`, `metrics.proto`, `common.proto`,
//! `resource.proto` and those of the services; the names stand beside them.

use std::time::{SystemTime, UNIX_EPOCH};

use super::exposition::{self, Family, Series};
use super::protobuf::{Field, Fields, Message};
use super::queue::{Ended, Value};
use super::settings::{Attribute, Otlp};
use crate::build_info::BuildInfo;

/// Who sends: the same for everything.
#[derive(Debug)]
pub(super) struct Resource {
    attributes: Vec<Attribute>,
    since: SystemTime,
}

impl Resource {
    pub(super) fn of(settings: &Otlp) -> Self {
        let service = settings.service.as_deref();
        // A UUID of version 4.
        let random = fastrand::u128(..) & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let digits = format!("{random:032x}");
        let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
        let own = [
            ("service.name", service.unwrap_or(BuildInfo::current().name)),
            ("service.version", BuildInfo::current().version),
            ("service.instance.id", &parts.join("-")),
        ];
        let own = own.map(|(name, value)| Attribute(name.to_owned(), value.to_owned()));
        // What the settings say of it counts.
        let said = |name: &str| settings.attributes.iter().any(|said| said.0 == name);
        let own = own.into_iter().filter(|own| !said(&own.0));
        Self {
            attributes: own.chain(settings.attributes.iter().cloned()).collect(),
            since: SystemTime::now(),
        }
    }

    /// What both kinds of request begin with; `write` goes on with what is sent.
    fn request(&self, write: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut request = Message::default();
        // resource_spans, resource_metrics
        request.message(1, |of_resource| {
            // resource
            of_resource.message(1, |resource| {
                for Attribute(name, value) in &self.attributes {
                    attribute(resource, 1, name, &Value::Text(value.clone()));
                }
            });
            // scope_spans, scope_metrics
            of_resource.message(2, |of_scope| {
                // scope: name, version
                of_scope.message(1, |scope| {
                    scope.text(1, BuildInfo::current().name);
                    scope.text(2, BuildInfo::current().version);
                });
                write(of_scope);
            });
        });
        request.into_bytes()
    }

    /// `ExportTraceServiceRequest`
    pub(super) fn traces(&self, spans: &[Ended]) -> Vec<u8> {
        self.request(|of_scope| {
            for ended in spans {
                of_scope.message(2, |span| write_span(span, ended));
            }
        })
    }

    /// `ExportMetricsServiceRequest`, of a page of metrics.
    pub(super) fn metrics(&self, page: &str) -> Vec<u8> {
        let times = [self.since, SystemTime::now()].map(nanos);
        self.request(|of_scope| {
            for family in exposition::read(page) {
                if !family.series.is_empty() {
                    of_scope.message(2, |metric| write_metric(metric, &family, times));
                }
            }
        })
    }
}

/// What a collector does not want of what it has taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected {
    /// So many spans, or points of metrics.
    pub(super) count: usize,
    /// Why, as it says, or the beginning of that.
    pub(super) words: String,
}

/// The most of a collector's words that is read.
const MOST_WORDS: usize = 200;

impl Rejected {
    /// `ExportTraceServiceResponse` and `ExportMetricsServiceResponse`, which are alike. What is
    /// neither says nothing.
    pub(super) fn by(answer: &[u8]) -> Self {
        let mut rejected = Self::default();
        for (number, field) in Fields(answer) {
            // partial_success
            if let (1, Field::Bytes(partial)) = (number, field) {
                rejected.read(partial);
            }
        }
        rejected
    }

    fn read(&mut self, partial: &[u8]) {
        for field in Fields(partial) {
            match field {
                // rejected_spans, rejected_data_points
                (1, Field::Number(count)) => {
                    self.count = usize::try_from(count).unwrap_or(usize::MAX);
                }
                // error_message
                (2, Field::Bytes(words)) => {
                    let words = &words[..words.len().min(MOST_WORDS)];
                    self.words = String::from_utf8_lossy(words).into_owned();
                }
                _ => {}
            }
        }
    }
}

const SAMPLED: u32 = 0x1;
const REMOTE_IS_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;
const STATUS_ERROR: u64 = 2;

fn write_span(span: &mut Message, ended: &Ended) {
    let trace = str::from_utf8(&ended.trace).ok();
    let trace = trace.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    span.bytes(1, &trace.unwrap_or_default().to_be_bytes()); // trace_id
    span.bytes(2, &ended.id.to_be_bytes()); // span_id
    if let Some(parent) = ended.parent {
        span.bytes(4, &parent.to_be_bytes()); // parent_span_id
    }
    span.text(5, &ended.name); // name
    span.number(6, ended.kind as u64); // kind
    span.fixed(7, nanos(ended.begin)); // start_time_unix_nano
    span.fixed(8, nanos(ended.end)); // end_time_unix_nano
    for (name, value) in &ended.attributes {
        attribute(span, 9, name, value); // attributes
    }
    span.number(10, ended.dropped_attributes.into()); // dropped_attributes_count
    if ended.failed {
        span.message(15, |status| status.number(3, STATUS_ERROR)); // status: code
    }
    let remote = if ended.parent_is_remote { REMOTE } else { 0 };
    span.short(16, SAMPLED | REMOTE_IS_KNOWN | remote); // flags
}

const CUMULATIVE: u64 = 2;

fn write_metric(metric: &mut Message, family: &Family<'_>, times: [u64; 2]) {
    metric.text(1, family.name); // name
    metric.text(2, family.help); // description
    metric.text(3, unit(family.name)); // unit
    match family.kind {
        // sum: data_points, aggregation_temporality, is_monotonic
        "counter" => metric.message(7, |sum| {
            for series in &family.series {
                sum.message(1, |point| write_point(point, series, times));
            }
            sum.number(2, CUMULATIVE);
            sum.number(3, 1);
        }),
        // histogram: data_points, aggregation_temporality
        "histogram" => metric.message(9, |histogram| {
            for series in &family.series {
                histogram.message(1, |point| write_histogram(point, series, times));
            }
            histogram.number(2, CUMULATIVE);
        }),
        // gauge: data_points
        _ => metric.message(5, |gauge| {
            for series in &family.series {
                gauge.message(1, |point| write_point(point, series, times));
            }
        }),
    }
}

/// `NumberDataPoint`
fn write_point(point: &mut Message, series: &Series<'_>, [since, now]: [u64; 2]) {
    point.fixed(2, since); // start_time_unix_nano
    point.fixed(3, now); // time_unix_nano
    point.chosen_float(4, series.value); // as_double
    write_labels(point, 7, series); // attributes
}

/// `HistogramDataPoint`
fn write_histogram(point: &mut Message, series: &Series<'_>, [since, now]: [u64; 2]) {
    point.fixed(2, since); // start_time_unix_nano
    point.fixed(3, now); // time_unix_nano
    point.fixed(4, series.count); // count
    point.chosen_float(5, series.value); // sum
    // Prometheus counts all up to a bound; here, each bucket has its own.
    let up_to = series.buckets.iter().map(|(_, count)| *count);
    let below = [0].into_iter().chain(up_to.clone());
    let alone = up_to.chain([series.count]).zip(below);
    point.packed(
        6,
        alone.map(|(count, below)| count.saturating_sub(below).to_le_bytes()),
    ); // bucket_counts
    point.packed(
        7,
        series.buckets.iter().map(|(bound, _)| bound.to_le_bytes()),
    ); // explicit_bounds
    write_labels(point, 9, series); // attributes
}

fn write_labels(point: &mut Message, field: u32, series: &Series<'_>) {
    for (name, value) in &series.labels {
        attribute(point, field, name, &Value::Text(value.clone()));
    }
}

/// `KeyValue`, with an `AnyValue` in it.
fn attribute(message: &mut Message, field: u32, name: &str, value: &Value) {
    message.message(field, |pair| {
        pair.text(1, name);
        pair.message(2, |any| match value {
            Value::Text(text) => any.chosen_text(1, text),
            Value::Flag(flag) => any.chosen_number(2, (*flag).into()),
            Value::Whole(number) => any.chosen_number(3, number.cast_unsigned()),
            Value::Number(number) => any.chosen_float(4, *number),
        });
    });
}

/// As UCUM has it.
fn unit(name: &str) -> &'static str {
    match name.trim_end_matches("_total").rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(write: impl FnOnce(&mut Message)) -> Vec<u8> {
        let mut answer = Message::default();
        answer.message(1, write);
        answer.into_bytes()
    }

    #[test]
    fn what_a_collector_rejects_is_read_from_whatever_it_answers() {
        let rejected = |count, words: &str| Rejected {
            count,
            words: words.to_owned(),
        };
        let some = answer(|partial| {
            partial.number(1, 300);
            partial.text(2, "too old");
        });
        let newer = answer(|partial| {
            partial.fixed(7, 1);
            partial.short(8, 1);
            partial.number(1, 2);
            partial.text(9, "more");
        });
        let long = answer(|partial| partial.text(2, &"x".repeat(100_000)));
        for (answer, expected) in [
            (some.as_slice(), rejected(300, "too old")),
            (&newer, rejected(2, "")),
            (&long, rejected(0, &"x".repeat(MOST_WORDS))),
            (&answer(|_| ()), rejected(0, "")),
            (b"", rejected(0, "")),
            (b"{}", rejected(0, "")),
            (&some[..some.len() - 1], rejected(0, "")),
            (&[0xff; 20], rejected(0, "")),
            (
                b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                rejected(usize::MAX, ""),
            ),
        ] {
            assert_eq!(Rejected::by(answer), expected, "{answer:?}");
        }
    }
}
