//! The rules for a URL that can be checked.

use url::Url;

/// The longest URL, in bytes.
const LONGEST: usize = 2048;

/// The longest URL after escaping. An index of Postgres takes no longer ones.
const LONGEST_STORED: usize = 2600;

/// Parses a URL and normalizes it, or returns what is wrong with it.
pub(super) fn parse_http_url(url: &str) -> Result<Url, &'static str> {
    if url.len() > LONGEST {
        return Err("is too long");
    }
    // `Url::parse` is as lenient as a browser, and corrects mistakes.
    let is_written =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
    let rest = rest.ok_or("must begin with http:// or https://")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err("must not contain a user or a password");
    }
    let parsed = Url::parse(url).ok();
    let parsed = parsed.filter(|_| !host.is_empty() && url.bytes().all(is_written));
    let mut parsed = parsed.ok_or("is not a valid URL")?;
    parsed.set_fragment(None);
    if parsed.as_str().len() > LONGEST_STORED {
        return Err("is too long");
    }
    Ok(parsed)
}
