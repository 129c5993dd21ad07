//! Finds the statements in a source of Rust: as much of its grammar as it takes not to be misled by
//! comments, by strings that speak of SQL, or by lifetimes.

/// The functions of sqlx to which a statement is given.
const FUNCTIONS: [&str; 7] = [
    "query",
    "query_as",
    "query_as_with",
    "query_scalar",
    "query_scalar_with",
    "query_with",
    "raw_sql",
];

/// The methods of a connection that take a bare statement as well.
const METHODS: [&str; 6] = [
    "execute",
    "execute_many",
    "fetch",
    "fetch_all",
    "fetch_one",
    "fetch_optional",
];

/// A statement is given to sqlx.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) line: usize,
    /// Unless it is something else than a literal.
    pub(super) statement: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(String),
    Sign(char),
}

use Token::{Sign, Text, Word};

pub(super) fn calls(source: &str) -> Vec<Call> {
    let (tokens, lines): (Vec<_>, Vec<_>) = tokens(source).into_iter().unzip();
    let call = |place: usize| {
        let (before, after) = (&tokens[..place], &tokens[place + 1..]);
        let Word(word) = tokens[place] else {
            return None;
        };
        let statement = match arguments(after)? {
            [Text(text), Sign(')' | ','), ..] => Some(text.clone()),
            _ => None,
        };
        let is_one = match before {
            [.., Sign('.')] => METHODS.contains(&word) && statement.is_some(),
            [.., Word("sqlx"), Sign(':'), Sign(':')] => FUNCTIONS.contains(&word),
            // Of another crate, or of the service itself.
            [.., Sign(':') | Word("fn")] => false,
            _ => FUNCTIONS.contains(&word),
        };
        is_one.then(|| Call {
            line: lines[place],
            statement,
        })
    };
    (0..tokens.len()).filter_map(call).collect()
}

/// What is between the parentheses and beyond, if this goes on as a call does.
fn arguments<'a>(mut after: &'a [Token<'a>]) -> Option<&'a [Token<'a>]> {
    if let [Sign(':'), Sign(':'), Sign('<'), types @ ..] = after {
        let mut depth = 1;
        let end = types.iter().position(|token| {
            match token {
                Sign('<') => depth += 1,
                Sign('>') => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        after = &types[end? + 1..];
    }
    match after {
        [Sign('('), arguments @ ..] => Some(arguments),
        _ => None,
    }
}

/// Each token, and the line that it is in.
fn tokens(source: &str) -> Vec<(Token<'_>, usize)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while !rest.is_empty() {
        let (token, length) = first(rest);
        tokens.extend(token.map(|token| (token, line)));
        let (passed, left) = rest.split_at(length);
        line += passed.matches('\n').count();
        rest = left;
    }
    tokens
}

/// What this begins with, and how long that is.
fn first(rest: &str) -> (Option<Token<'_>>, usize) {
    if rest.starts_with("//") {
        (None, rest.find('\n').unwrap_or(rest.len()))
    } else if rest.starts_with("/*") {
        (None, comment(rest))
    } else if let Some((text, length)) = raw(rest).or_else(|| plain(rest)) {
        (Some(Text(text)), length)
    } else if let Some(length) = character(rest) {
        (None, length)
    } else {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
            0 => {
                let sign = rest.chars().next().unwrap_or_default();
                let token = (!sign.is_whitespace()).then_some(Sign(sign));
                (token, sign.len_utf8())
            }
            length => (Some(Word(&rest[..length])), length),
        }
    }
}

/// How long a comment is, which may have others in it.
fn comment(rest: &str) -> usize {
    let (mut place, mut depth) = (0, 0);
    while place < rest.len() {
        let (step, deeper) = match &rest.as_bytes()[place..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        place += step;
        depth += deeper;
        if depth == 0 {
            break;
        }
    }
    place
}

/// A character. What begins with a quote is a lifetime otherwise.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    let first = inner.chars().next()?;
    // The one after the backslash is never the end.
    let least = if first == '\\' { 2 } else { first.len_utf8() };
    let end = inner.get(least..)?.find('\'')?;
    (first == '\\' || end == 0).then_some(1 + least + end + 1)
}

/// `r#"…"#`, with as many `#` as it takes.
fn raw(rest: &str) -> Option<(String, usize)> {
    let marks = rest
        .strip_prefix(['b', 'c'])
        .unwrap_or(rest)
        .strip_prefix('r')?;
    let inner = marks.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(marks.len() - inner.len()));
    let inner = inner.strip_prefix('"')?;
    let length = inner.find(&end)?;
    let before = rest.len() - inner.len();
    Some((inner[..length].to_owned(), before + length + end.len()))
}

/// `"…"`, with what a backslash means in SQL that somebody has written out: a quote, a line's end that
/// is none.
fn plain(rest: &str) -> Option<(String, usize)> {
    let inner = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    let inner = inner.strip_prefix('"')?;
    let mut text = String::new();
    let mut left = inner.chars();
    loop {
        match left.next()? {
            '"' => return Some((text, rest.len() - left.as_str().len())),
            '\\' => match left.next()? {
                '\n' => left = left.as_str().trim_start().chars(),
                'n' => text.push('\n'),
                't' => text.push('\t'),
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
