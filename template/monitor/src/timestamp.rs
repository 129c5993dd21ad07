//! Times, as stored in the database and as sent by the API.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// A time in milliseconds since 1970, in RFC 3339 format on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type, ToSchema)]
#[sqlx(transparent)]
#[schema(value_type = String, format = DateTime, example = "2026-11-22T10:00:00.000Z")]
pub(super) struct Timestamp(pub(super) i64);

impl Timestamp {
    pub(super) fn now() -> Self {
        Self(millis(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()))
    }

    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(millis(time)))
    }

    pub(super) fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(millis(time)))
    }
}

pub(super) fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let since = Duration::from_millis(self.0.max(0).cast_unsigned());
        let time = SystemTime::UNIX_EPOCH + since;
        serializer.collect_str(&humantime::format_rfc3339_millis(time))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = DateTime::parse_from_rfc3339(&text);
        let time = time.map_err(|_| D::Error::custom("no time"))?;
        Ok(Self(time.timestamp_millis()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn timestamp_round_trips_and_accepts_any_zone() {
        for millis in [0, 1, 1_767_225_600_123] {
            let written = to_value(Timestamp(millis)).unwrap();
            assert_eq!(from_value::<Timestamp>(written).unwrap(), Timestamp(millis));
        }
        let elsewhere = json!("1970-01-01T02:00:00+02:00");
        assert_eq!(from_value::<Timestamp>(elsewhere).unwrap(), Timestamp(0));
        for none in [json!("today"), json!("1970-01-01"), json!(5)] {
            assert!(from_value::<Timestamp>(none).is_err());
        }
    }
}
