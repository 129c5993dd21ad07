//! Every problem with the settings, in words for the person who has to fix it.

use std::fmt;

/// All that is wrong, in the order in which it was found. `Display` is the report.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Problem {
    /// The settings concerned: none for a source that cannot be read, several for values that do
    /// not go together.
    about: Vec<Subject>,
    /// What is the matter, and the cure.
    words: String,
}

/// A setting, as far as it may be shown.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) origin: Option<String>,
}

impl Problem {
    /// A file or a variable that is wrong as a whole.
    pub(super) fn of_source(source: impl fmt::Display, words: impl Into<String>) -> Self {
        let subject = Subject {
            name: source.to_string(),
            value: None,
            origin: None,
        };
        Self {
            about: vec![subject],
            words: words.into(),
        }
    }

    /// A key; its value only when that is no secret.
    pub(super) fn of_key(
        key: &str,
        value: Option<String>,
        origin: &str,
        words: impl Into<String>,
    ) -> Self {
        let subject = Subject {
            name: key.to_owned(),
            value,
            origin: Some(origin.to_owned()),
        };
        Self {
            about: vec![subject],
            words: words.into(),
        }
    }

    /// Values that are right each by itself, and wrong together.
    pub(super) fn of_several(about: Vec<Subject>, words: impl Into<String>) -> Self {
        Self {
            about,
            words: words.into(),
        }
    }
}

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this key is wrong already, so that nothing follows from its value.
    pub(super) fn concern(&self, key: &str) -> bool {
        self.0
            .iter()
            .any(|problem| problem.about.iter().any(|subject| subject.name == key))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "1 problem with the settings")?,
            count => writeln!(f, "{count} problems with the settings")?,
        }
        for problem in &self.0 {
            writeln!(f)?;
            for subject in &problem.about {
                write!(f, "  {}", subject.name)?;
                if let Some(value) = &subject.value {
                    write!(f, " = {value}")?;
                }
                if let Some(origin) = &subject.origin {
                    write!(f, "  (set by {origin})")?;
                }
                writeln!(f)?;
            }
            writeln!(f, "    {}", problem.words)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
