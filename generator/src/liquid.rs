//! Renders the tags of the template: a small part of [Liquid](https://shopify.github.io/liquid/).
//!
//! cargo-generate renders them too, but takes a minute to build, and `cargo run -- new` must not. A
//! test of the package `updater` compares the two byte for byte. Supported are:
//!
//! - `{{ value | replace: a, b | remove: a }}`, where a value is a variable or a text in double quotes;
//! - `{% if condition %}`, `{% unless condition %}`, with `{% else %}`, where a condition is
//!   `flag`, `a == b` or `list contains a`, or several of these with `or`;
//! - `{% capture name %}`, `{% comment %}`, and `-` at the ends of a tag against the space around it.
//!
//! A text with `,`, `|` or the end of a tag in it is not supported. All that is not supported is an
//! error, as is an unknown variable.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// What `-` in a tag removes.
const SPACE: [char; 3] = [' ', '\r', '\n'];

/// The value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Flag(bool),
    List(Vec<String>),
}

/// The variables.
pub(crate) type Values = BTreeMap<String, Value>;

/// Renders a file's text. An error has the number of the line.
pub(crate) fn render(text: &str, values: &Values) -> Result<String> {
    let mut renderer = Renderer {
        rest: text,
        tag: text,
        values: values.clone(),
    };
    let done = renderer.block(true, &[""]);
    let line = || {
        text[..text.len() - renderer.tag.len()]
            .matches('\n')
            .count()
            + 1
    };
    Ok(done.with_context(|| format!("line {}", line()))?.0)
}

/// Whether a condition is true.
pub(crate) fn holds(condition: &str, values: &Values) -> Result<bool> {
    let variable = |name: &str| {
        let value = values.get(name.trim());
        value.with_context(|| format!("unknown variable `{name}`"))
    };
    let mut any = false;
    for one in condition.split(" or ") {
        any |= if let Some((a, b)) = one.split_once("==") {
            text(a, values)? == text(b, values)?
        } else if let Some((list, item)) = one.split_once(" contains ") {
            let Value::List(list) = variable(list)? else {
                bail!("`{one}`: that is no list");
            };
            list.contains(&text(item, values)?)
        } else {
            variable(one)? == &Value::Flag(true)
        };
    }
    Ok(any)
}

/// The text of a literal or a variable.
fn text(operand: &str, values: &Values) -> Result<String> {
    let operand = operand.trim();
    let literal = operand.strip_prefix('"');
    if let Some(literal) = literal.and_then(|rest| rest.strip_suffix('"')) {
        return Ok(literal.to_owned());
    }
    match values.get(operand) {
        Some(Value::Text(text)) => Ok(text.clone()),
        Some(_) => bail!("`{operand}` is no text"),
        None => bail!("unknown variable `{operand}`"),
    }
}

struct Renderer<'a> {
    /// What is not rendered yet.
    rest: &'a str,
    /// The text from the last tag on.
    tag: &'a str,
    values: Values,
}

impl<'a> Renderer<'a> {
    /// Renders up to one of these tags, which it returns too; the empty one is the end of the file. A
    /// hidden block is read, but nothing in it is evaluated.
    fn block(&mut self, is_shown: bool, ends: &[&str]) -> Result<(String, &'a str)> {
        let mut output = String::new();
        loop {
            let starts = ["{{", "{%"].map(|start| self.rest.find(start));
            let Some(start) = starts.into_iter().flatten().min() else {
                ensure!(ends.contains(&""), "`{}` is missing", ends.join("` or `"));
                return Ok((output + self.rest, ""));
            };
            let (before, tag) = self.rest.split_at(start);
            self.tag = tag;
            let (open, tag) = tag.split_at(2);
            let close = if open == "{{" { "}}" } else { "%}" };
            let end = tag.split_once(close);
            let (inside, rest) = end.with_context(|| format!("`{open}` has no `{close}`"))?;
            let (inside, before) = match inside.strip_prefix('-') {
                Some(inside) => (inside, before.trim_end_matches(SPACE)),
                None => (inside, before),
            };
            let (inside, rest) = match inside.strip_suffix('-') {
                Some(inside) => (inside.trim(), rest.trim_start_matches(SPACE)),
                None => (inside.trim(), rest),
            };
            self.rest = rest;
            if is_shown {
                output += before;
            }
            if open == "{{" {
                if is_shown {
                    output += &self.value(inside)?;
                }
                continue;
            }
            let (name, argument) = inside.split_once(' ').unwrap_or((inside, ""));
            match name {
                "if" | "unless" => {
                    let holds = is_shown && holds(argument, &self.values)? == (name == "if");
                    let end = format!("end{name}");
                    let (body, last) = self.block(holds, &["else", &end])?;
                    output += &body;
                    if last == "else" {
                        output += &self.block(is_shown && !holds, &[&end])?.0;
                    }
                }
                "capture" => {
                    let (body, _) = self.block(is_shown, &["endcapture"])?;
                    self.values.insert(argument.to_owned(), Value::Text(body));
                }
                "comment" => _ = self.block(false, &["endcomment"])?,
                _ if ends.contains(&inside) => return Ok((output, inside)),
                _ => bail!("unknown tag `{inside}`"),
            }
        }
    }

    /// A value with filters.
    fn value(&self, expression: &str) -> Result<String> {
        let mut parts = expression.split('|');
        let mut value = text(parts.next().unwrap_or_default(), &self.values)?;
        for filter in parts {
            let unknown = || format!("unknown filter `{}`", filter.trim());
            let (name, arguments) = filter.split_once(':').with_context(unknown)?;
            let arguments = arguments.split(',').map(|it| text(it, &self.values));
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            value = match (name.trim(), &arguments[..]) {
                ("replace", [from, to]) => value.replace(from, to),
                ("remove", [what]) => value.replace(what, ""),
                _ => bail!(unknown()),
            };
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        let texts = [("name", "svc"), ("nl", "\n")];
        let texts = texts.map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned())));
        let list = Value::List(vec!["docker".to_owned()]);
        let others = [("deploy", list), ("is_member", Value::Flag(false))];
        let others = others.map(|(name, value)| (name.to_owned(), value));
        texts.into_iter().chain(others).collect()
    }

    #[test]
    fn supported_tags_render() {
        for (text, expected) in [
            ("{{ x", "error"),
            (
                "a {{ name }} {% if name == \"svc\" %}b{% else %}c{% endif %}",
                "a svc b",
            ),
            ("{% unless is_member %}a{% else %}b{% endunless %}", "a"),
            (
                "{% if deploy contains \"x\" or deploy contains \"docker\" %}a{% endif %}",
                "a",
            ),
            (
                "{% if is_member %}{% if unknown %}a{% else %}b{% endif %}{{ x }}{% endif %}",
                "",
            ),
            (
                "a \n {%- comment %} {{ x }} {% endcomment -%} \n b{{- nl -}} c",
                "ab\nc",
            ),
            (
                "{% capture b %}x #~y{% endcapture %}{{ b | remove: \"#~\" | replace: \"x\", name }}",
                "svc y",
            ),
        ] {
            let rendered = render(text, &values()).unwrap_or_else(|_| "error".to_owned());
            assert_eq!(rendered, expected, "{text}");
        }
    }

    #[test]
    fn unsupported_tag_is_refused_with_its_line() {
        for (tag, why) in [
            (
                "{% for a in deploy %}{% endfor %}",
                "unknown tag `for a in deploy`",
            ),
            ("{% endif %}", "unknown tag `endif`"),
            ("{% if is_member %}", "`else` or `endif` is missing"),
            (
                "{% if is_member %}{% elsif is_member %}{% endif %}",
                "unknown tag `elsif is_member`",
            ),
            (
                "{% if name == \"a\" and is_member %}{% endif %}",
                "unknown variable `\"a\" and is_member`",
            ),
            ("{{ names }}", "unknown variable `names`"),
            ("{{ name | upcase }}", "unknown filter `upcase`"),
            ("{{ name | remove: 'a' }}", "unknown variable `'a'`"),
            ("{{ name | remove: \"a|b\" }}", "unknown variable `\"a`"),
            ("{{ deploy }}", "`deploy` is no text"),
            ("{{ name", "`{{` has no `}}`"),
        ] {
            let error = render(&format!("a {{{{ name }}}}\nb\n{tag}\nc"), &values()).unwrap_err();
            assert_eq!(format!("{error:#}"), format!("line 3: {why}"));
        }
    }
}
