//! An address as text, without an allocation: its `Display` takes longer than all else that the event
//! of a request says.

use std::io::Write;
use std::net::IpAddr;

/// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`
const LONGEST: usize = 45;

pub(super) struct Address {
    text: [u8; LONGEST],
    length: usize,
}

impl Address {
    pub(super) fn of(address: IpAddr) -> Self {
        let mut text = [0; LONGEST];
        let mut room = &mut text[..];
        // It would fail if there were too little room.
        _ = match address {
            IpAddr::V4(address) => {
                let [first, others @ ..] = address.octets();
                let first = room.write_all(itoa::Buffer::new().format(first).as_bytes());
                others.into_iter().fold(first, |done, number| {
                    done?;
                    room.write_all(b".")?;
                    room.write_all(itoa::Buffer::new().format(number).as_bytes())
                })
            }
            IpAddr::V6(address) => write!(room, "{address}"),
        };
        let length = LONGEST - room.len();
        Self { text, length }
    }

    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_always() {
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "255.255.255.255",
            "::",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(Address::of(address).as_str(), address.to_string());
        }
    }
}
