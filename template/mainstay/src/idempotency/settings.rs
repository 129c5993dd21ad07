//! `[idempotency]`

use std::time::Duration;

use crate::settings::{ByteSize, Check, Reader, Section};

/// `[idempotency]`
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long answers are stored.
    pub retention: Duration,
    /// The most answers that are stored.
    pub max_answers: u32,
    /// The largest answer that is stored.
    pub answer_limit: ByteSize,
}

impl Section for Settings {
    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            retention: from.value("retention"),
            max_answers: from.value("max_answers"),
            answer_limit: from.value("answer_limit"),
        }
    }

    fn check(&self, check: &mut Check<'_>) {
        check.that(
            self.retention >= Duration::from_secs(1),
            &["idempotency.retention"],
            "must be at least 1s",
        );
        check.range("idempotency.max_answers", self.max_answers, 1..);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Reference, Sources, load};

    #[test]
    fn every_key_of_idempotency_is_read_and_explained() {
        struct Own;

        impl Section for Own {
            fn read(from: &mut Reader<'_>) -> Self {
                _ = from.section::<Settings>("idempotency");
                Self
            }
        }

        let reference = Reference::new(&[crate::idempotency::SETTINGS]);
        let Ok(loaded) = load::<Own>(&reference, &Sources::default()) else {
            panic!("the defaults are not valid");
        };
        let read: Vec<_> = loaded.entries.iter().map(|entry| &*entry.key).collect();
        let described: Vec<_> = reference.keys().collect();
        assert_eq!(described, read);
        for key in described {
            assert!(!reference.meaning(key).is_empty(), "no comment above {key}");
        }
    }
}
