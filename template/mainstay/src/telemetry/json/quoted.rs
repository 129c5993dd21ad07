//! Strings of JSON, escaped so that a value ends neither its string nor its line.

use std::fmt::{self, Write};

/// Appends a string in quotes.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    // Writing to a string does not fail.
    _ = Quoted(out).write_str(text);
    out.push('"');
}

/// Appends what stands before the value of a field.
pub(super) fn begin_field(out: &mut String, name: &str) {
    out.push(',');
    quote(out, name);
    out.push(':');
}

/// The inside of a string of JSON.
pub(super) struct Quoted<'a>(&'a mut String);

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text
            .as_bytes()
            .iter()
            .fold(false, |any, byte| any | is_special(*byte))
        {
            return self.escape(text);
        }
        self.0.push_str(text);
        Ok(())
    }
}

impl<'a> Quoted<'a> {
    pub(super) fn new(text: &'a mut String) -> Self {
        Self(text)
    }

    #[cold]
    fn escape(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, char) in text.char_indices() {
            let escaped = match char {
                '"' => Some("\\\""),
                '\\' => Some("\\\\"),
                '\n' => Some("\\n"),
                '\r' => Some("\\r"),
                '\t' => Some("\\t"),
                // Lines end with the last two for some.
                '\u{2028}' | '\u{2029}' => None,
                char if char.is_control() => None,
                _ => continue,
            };
            self.0.push_str(&text[plain..at]);
            plain = at + char.len_utf8();
            match escaped {
                Some(escaped) => self.0.push_str(escaped),
                None => write!(self.0, "\\u{:04x}", u32::from(char))?,
            }
        }
        self.0.push_str(&text[plain..]);
        Ok(())
    }
}

/// Whether what begins with this byte may not stand in a string of JSON, or in a terminal, as it is.
fn is_special(byte: u8) -> bool {
    SPECIAL[usize::from(byte)]
}

/// Looked up, since every byte of every line is.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < b' ' as usize {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special[0x7f] = true;
    // Of those in two bytes and in three, a few.
    special[0xc2] = true;
    special[0xe2] = true;
    special
};
