//! The report of all problems with the settings.

use std::fmt;

/// All problems, in the order in which they were found. `Display` is the report.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

#[derive(Debug)]
struct Problem {
    subjects: Vec<Subject>,
    /// What is wrong, and the cure.
    words: String,
}

/// What a problem is about.
#[derive(Debug)]
pub(super) struct Subject {
    /// A key; or a file or a variable that is wrong as a whole.
    pub(super) name: String,
    /// The value of the key, redacted.
    pub(super) value: Option<String>,
    /// What set the key.
    pub(super) source: Option<String>,
}

impl Subject {
    pub(super) fn new(name: impl fmt::Display, source: Option<&str>) -> Self {
        Self {
            name: name.to_string(),
            value: None,
            source: source.map(str::to_owned),
        }
    }
}

impl Problems {
    /// A file or a variable that is wrong as a whole.
    pub(super) fn add_source(&mut self, name: impl fmt::Display, words: impl Into<String>) {
        self.add(vec![Subject::new(name, None)], words);
    }

    /// A key, without its value.
    pub(super) fn add_key(&mut self, key: &str, source: &str, words: impl Into<String>) {
        self.add(vec![Subject::new(key, Some(source))], words);
    }

    /// One key with its value, or several that contradict each other.
    pub(super) fn add(&mut self, subjects: Vec<Subject>, words: impl Into<String>) {
        let words = words.into();
        self.0.push(Problem { subjects, words });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this key has a problem already, so that its value means nothing.
    pub(super) fn concern(&self, key: &str) -> bool {
        let mut subjects = self.0.iter().flat_map(|problem| &problem.subjects);
        subjects.any(|subject| subject.name == key)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        writeln!(f, "{count} problem{plural} with the settings")?;
        for problem in &self.0 {
            writeln!(f)?;
            for subject in &problem.subjects {
                write!(f, "  {}", subject.name)?;
                if let Some(value) = &subject.value {
                    write!(f, " = {value}")?;
                }
                if let Some(source) = &subject.source {
                    write!(f, "  (set by {source})")?;
                }
                writeln!(f)?;
            }
            writeln!(f, "    {}", problem.words)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
