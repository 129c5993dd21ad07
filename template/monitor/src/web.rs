//! URLs that can be watched: what one is, said once for whoever takes one.

use url::Url;

/// The longest that is taken, in bytes.
const LONGEST: usize = 2048;

/// The longest as it is stored, which is longer where characters had to be escaped: an index of Postgres
/// takes no longer ones.
const LONGEST_STORED: usize = 2600;

/// The URL as it is asked for, which is the same for all the ways to write it; or else what is wrong.
pub(super) fn of_the_web(url: &str) -> Result<Url, &'static str> {
    if url.len() > LONGEST {
        return Err("is too long");
    }
    // A browser would take more than is a URL, and mend it.
    let is_written =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
    let rest = rest.ok_or("does not begin with http:// or https://")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.contains('@') {
        return Err("must not have a user or a password in it");
    }
    let parsed = Url::parse(url).ok();
    let parsed = parsed.filter(|_| !host.is_empty() && url.bytes().all(is_written));
    let mut parsed = parsed.ok_or("is no URL")?;
    parsed.set_fragment(None);
    if parsed.as_str().len() > LONGEST_STORED {
        return Err("is too long");
    }
    Ok(parsed)
}
