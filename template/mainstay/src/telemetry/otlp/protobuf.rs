//! The wire format of protobuf, as far as OTLP needs it: fields by their number, one after the other.
//! Values that are zero or empty are left out, as the format has it.

/// A message, as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// How a value stands on the wire.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.whole(field, bytes);
        }
    }

    /// `int32`, `int64`, `bool` and enumerations.
    pub(super) fn number(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.key(field, Wire::Varint);
            self.varint(number);
        }
    }

    pub(super) fn fixed(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.key(field, Wire::Fixed64);
            self.0.extend(number.to_le_bytes());
        }
    }

    pub(super) fn short(&mut self, field: u32, number: u32) {
        if number != 0 {
            self.key(field, Wire::Fixed32);
            self.0.extend(number.to_le_bytes());
        }
    }

    /// One of several, which is there also when it is zero.
    pub(super) fn chosen_float(&mut self, field: u32, number: f64) {
        self.key(field, Wire::Fixed64);
        self.0.extend(number.to_le_bytes());
    }

    /// The same.
    pub(super) fn chosen_number(&mut self, field: u32, number: u64) {
        self.key(field, Wire::Varint);
        self.varint(number);
    }

    /// The same.
    pub(super) fn chosen_text(&mut self, field: u32, text: &str) {
        self.whole(field, text.as_bytes());
    }

    /// Many of eight bytes each.
    pub(super) fn packed(&mut self, field: u32, all: impl IntoIterator<Item = [u8; 8]>) {
        let all: Vec<u8> = all.into_iter().flatten().collect();
        self.bytes(field, &all);
    }

    /// A message in this one, which is there also when nothing is in it.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.whole(field, &inner.0);
    }

    fn whole(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, Wire::Bytes);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn key(&mut self, field: u32, wire: Wire) {
        self.varint(u64::from(field) << 3 | wire as u64);
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }
}

/// The fields of a message that somebody else has written, with their numbers, up to what is none.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// What a field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a kind that nobody here asks for.
    Other,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let field = match key & 0x7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for place in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << place;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}
