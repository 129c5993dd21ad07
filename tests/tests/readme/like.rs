//! Compares output with a page.
//!
//! In a page, `…` stands for any text within a line; alone on a line, it stands for any lines.

pub(crate) fn assert_like(expected: &str, said: &str) {
    let expected: Vec<_> = expected.lines().collect();
    let lines: Vec<_> = said.lines().collect();
    let like = lines_like(&expected, &lines);
    let page = expected.join("\n");
    assert!(like, "the page:\n\n{page}\n\nthe output:\n\n{said}");
}

fn lines_like(expected: &[&str], said: &[&str]) -> bool {
    match (expected, said) {
        ([], []) => true,
        (["…", more @ ..], said) => (0..=said.len()).any(|skip| lines_like(more, &said[skip..])),
        ([line, more @ ..], [spoken, rest @ ..]) => {
            line_like(line, spoken) && lines_like(more, rest)
        }
        _ => false,
    }
}

fn line_like(expected: &str, said: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|start| said.strip_prefix(start)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn likeness_is_not_too_kind() {
    assert!(lines_like(&["a…c", "…", "e"], &["abbc", "x", "y", "e"]));
    assert!(lines_like(&["…", "e"], &["e"]));
    assert!(!lines_like(&["a…c"], &["abbd"]));
    assert!(!lines_like(&["a"], &["a", "b"]));
    assert!(!lines_like(&["a", "b"], &["a"]));
    assert!(!line_like("ab…", "a"));
}
