//! Corrects checksums, so that mutations reach what is behind them.

use deltalite_net::frame::{BodyCrc, Header, padded};
use deltalite_net::limits::HEADER_BYTES;

/// Offsets within a header.
const FLAGS: usize = 5;
const META: usize = 12;
const PAYLOAD: usize = 16;
const SPARE: [std::ops::Range<usize>; 2] = [50..52, 56..60];
const BODY_CRC: usize = 52;
const OWN_CRC: usize = 60;

/// Walks over the frames as their headers say, and makes each header one that parses.
pub(crate) fn reseal(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<HEADER_BYTES>()) {
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (meta, payload) = (number(META) as usize, number(PAYLOAD) as usize);
        let body = if payload == 0 { meta } else { padded(meta) + payload };
        header[..4].copy_from_slice(b"DLR1");
        header[FLAGS] &= 7;
        for spare in SPARE {
            header[spare].fill(0);
        }
        let from = at + HEADER_BYTES;
        let to = from.saturating_add(body).min(bytes.len());
        let crc = BodyCrc::of(std::iter::once(&bytes[from..to]));
        bytes[at + BODY_CRC..at + BODY_CRC + 4].copy_from_slice(&crc.to_le_bytes());
        let own = BodyCrc::of(std::iter::once(&bytes[at..at + OWN_CRC]));
        bytes[at + OWN_CRC..from].copy_from_slice(&own.to_le_bytes());
        debug_assert!(Header::parse(bytes[at..from].try_into().unwrap_or(&[0; HEADER_BYTES])).is_ok());
        at = to;
    }
}
