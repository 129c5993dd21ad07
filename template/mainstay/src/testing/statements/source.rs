//! Finds the SQL statements in a Rust source: calls of sqlx with a string literal.

use proc_macro2::{Ident, TokenStream, TokenTree};

/// The functions of sqlx that take a statement.
const FUNCTIONS: [&str; 7] = [
    "query",
    "query_as",
    "query_as_with",
    "query_scalar",
    "query_scalar_with",
    "query_with",
    "raw_sql",
];

/// The methods of a connection that take a statement as text as well.
const METHODS: [&str; 6] = [
    "execute",
    "execute_many",
    "fetch",
    "fetch_all",
    "fetch_one",
    "fetch_optional",
];

/// A call that gives a statement to sqlx.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) line: usize,
    /// `None` if it is not a string literal.
    pub(super) statement: Option<String>,
}

pub(super) fn calls(source: &str) -> Vec<Call> {
    let tokens: TokenStream = source.parse().expect("a Rust source");
    let mut calls = Vec::new();
    find_calls(tokens, &mut calls);
    calls
}

fn find_calls(tokens: TokenStream, calls: &mut Vec<Call>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (place, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(name) => {
                let (before, after) = (&tokens[..place], &tokens[place + 1..]);
                calls.extend(call(before, name, after));
            }
            TokenTree::Group(group) => find_calls(group.stream(), calls),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The call of a function or a method of sqlx.
fn call(before: &[TokenTree], name: &Ident, after: &[TokenTree]) -> Option<Call> {
    let line = name.span().start().line;
    let name = &*name.to_string();
    let statement = literal(arguments(after)?);
    let is_function = FUNCTIONS.contains(&name);
    let before: Vec<_> = before.iter().rev().take(3).map(text).collect();
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    let is_call = match before[..] {
        [".", ..] => METHODS.contains(&name) && statement.is_some(),
        [":", ":", "sqlx"] => is_function,
        // A function of another module, or a definition.
        [":" | "fn", ..] => false,
        _ => is_function,
    };
    is_call.then_some(Call { line, statement })
}

/// The tokens between the parentheses, after the types in `::<…>` if there are any.
fn arguments(mut after: &[TokenTree]) -> Option<TokenStream> {
    let signs: Vec<_> = after.iter().take(3).map(text).collect();
    if signs == [":", ":", "<"] {
        let mut depth = 0;
        let end = after.iter().skip(2).position(|token| {
            depth += match &*text(token) {
                "<" => 1,
                ">" => -1,
                _ => 0,
            };
            depth == 0
        });
        after = &after[end? + 3..];
    }
    match after.first()? {
        TokenTree::Group(group) if text(&after[0]).starts_with('(') => Some(group.stream()),
        _ => None,
    }
}

/// The value of the first argument, if it is a string literal and nothing else.
fn literal(arguments: TokenStream) -> Option<String> {
    let mut arguments = arguments.into_iter();
    let TokenTree::Literal(first) = arguments.next()? else {
        return None;
    };
    let is_alone = arguments.next().is_none_or(|next| text(&next) == ",");
    let value = syn::parse_str::<syn::LitStr>(&first.to_string()).ok()?;
    is_alone.then(|| value.value())
}

fn text(token: &TokenTree) -> String {
    token.to_string()
}

#[cfg(test)]
mod tests;
