//! Frames: the units on the wire.
//!
//! ```text
//!  0        4      5      6        8        12         16            20            24
//!  ┌────────┬──────┬──────┬────────┬────────┬──────────┬─────────────┬─────────────┐
//!  │ "DLR1" │ kind │flags │ method │ stream │ metadata │   payload   │ deadline ms │
//!  │        │  u8  │  u8  │  u16   │  u32   │ bytes u32│  bytes u32  │     u32     │
//!  ├────────┴──────┴──────┼────────┴────────┼──────────┴──┬──────────┴─────────────┤ 24
//!  │      credit u64      │    epoch u64    │  request u64│ attempt u16 │ 0 u16    │
//!  ├──────────────────────┴─────────────────┴─────────────┴─────────────┴──────────┤ 52
//!  │ CRC-32C of the body u32 │ 0 u32 │ CRC-32C of bytes 0..60 u32                  │
//!  ├───────────────────────────────────────────────────────────────────────────────┤ 64
//!  │ metadata, zeros up to a multiple of 64, payload                               │
//!  └───────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! All integers are little-endian. The *body* is what follows the header; it is received into memory aligned to 64 bytes, and
//! so is the payload.

use bytemuck::{Pod, Zeroable};

use crate::error::{ErrorKind, Result, RpcError};
use crate::limits::{ALIGN_BYTES, HEADER_BYTES};

#[cfg(target_endian = "big")]
compile_error!("frame headers are read in place, which needs a little-endian machine");

const MAGIC: [u8; 4] = *b"DLR1";

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of each side: version, limits, identity. `credit` is the connection's.
    Hello = 1,
    /// Begins a stream. Metadata and payload are the request, `credit` is the stream's first.
    Open = 2,
    /// A message, or a part of one.
    Data = 3,
    /// The sender has no more messages.
    End = 4,
    /// The stream is over with an error, which is the metadata.
    Reset = 5,
    /// The receiver takes bytes up to this total, of a stream or (stream 0) of the connection.
    Credit = 6,
    /// Asks for a [`Kind::Pong`] with the same `credit`.
    Ping = 7,
    /// The answer to a ping.
    Pong = 8,
    /// No new streams; those up to `credit` go on. With metadata (an error): all is over.
    Goaway = 9,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Open,
            3 => Self::Data,
            4 => Self::End,
            5 => Self::Reset,
            6 => Self::Credit,
            7 => Self::Ping,
            8 => Self::Pong,
            9 => Self::Goaway,
            _ => return None,
        })
    }
}

/// The message goes on in the sender's next frame of this stream.
pub const FLAG_MORE: u8 = 1;
/// The sender's last frame of this stream, as if an end followed.
pub const FLAG_LAST: u8 = 2;

/// The body has no checksum: both sides said that the way between them keeps bytes as they are.
pub const FLAG_BARE: u8 = 4;

/// A frame's header, as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    magic: [u8; 4],
    kind: u8,
    /// [`FLAG_MORE`], [`FLAG_LAST`], [`FLAG_BARE`].
    pub flags: u8,
    /// Of an open: which method is called.
    pub method: u16,
    /// The stream; 0 for the connection.
    pub stream: u32,
    /// Bytes of metadata.
    pub meta_bytes: u32,
    /// Bytes of payload.
    pub payload_bytes: u32,
    /// Of an open: milliseconds left for the call; 0 for no limit.
    pub deadline_ms: u32,
    /// See [`Kind`].
    pub credit: u64,
    /// The sender's epoch: in which era of the cluster it believes to be.
    pub epoch: u64,
    /// Of an open: what request this is for, the same over all attempts and nested calls.
    pub request: u64,
    /// Of an open: which attempt this is, counted from 0.
    pub attempt: u16,
    spare: u16,
    body_crc: u32,
    spare2: u32,
    own_crc: u32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// `bytes` up to a multiple of the alignment.
pub const fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN_BYTES)
}

/// CRC-32C of a body that comes in pieces.
///
/// Short ones go to crate `crc32c`, whose call costs less; from some hundred bytes on crc-fast folds wider.
#[derive(Debug, Default)]
pub struct BodyCrc {
    small: u32,
    wide: Option<crc_fast::Digest>,
}

impl BodyCrc {
    /// The next piece.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.wide {
            Some(digest) => digest.update(piece),
            None if piece.len() < 512 => self.small = crc32c::crc32c_append(self.small, piece),
            None => {
                let mut digest = crc_fast::Digest::new_with_init_state(
                    crc_fast::CrcAlgorithm::Crc32Iscsi,
                    u64::from(!self.small),
                );
                digest.update(piece);
                self.wide = Some(digest);
            }
        }
    }

    /// The checksum of all of them.
    pub fn finish(self) -> u32 {
        self.wide.map_or(self.small, |digest| digest.finalize() as u32)
    }

    /// The checksum of these.
    pub fn of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> u32 {
        let mut crc = Self::default();
        pieces.for_each(|piece| crc.update(piece));
        crc.finish()
    }
}

impl Header {
    /// A header without a body.
    pub fn new(kind: Kind, stream: u32) -> Self {
        Self { magic: MAGIC, kind: kind as u8, stream, ..Self::zeroed() }
    }

    /// What the frame is.
    ///
    /// # Errors
    /// For a kind of a later version.
    pub fn kind(&self) -> Result<Kind> {
        Kind::of(self.kind).ok_or_else(|| {
            RpcError::new(ErrorKind::Protocol, format!("a frame of unknown kind {}", self.kind))
        })
    }

    /// Bytes that follow the header.
    pub fn body_bytes(&self) -> u64 {
        if self.payload_bytes == 0 {
            u64::from(self.meta_bytes)
        } else {
            padded(self.meta_bytes as usize) as u64 + u64::from(self.payload_bytes)
        }
    }

    /// What a message's frame takes of the credit, in bytes: its header counts, so that empty ones are not free.
    pub fn cost(&self) -> u64 {
        HEADER_BYTES as u64 + self.body_bytes()
    }

    /// Sealed: with its checksums.
    #[must_use]
    pub fn seal(mut self, body_crc: u32) -> Self {
        self.body_crc = body_crc;
        self.own_crc = crc(&bytemuck::bytes_of(&self)[..HEADER_BYTES - 4]);
        self
    }

    /// As it lies on the wire, once it is sealed.
    pub fn bytes(&self) -> &[u8; HEADER_BYTES] {
        bytemuck::cast_ref(self)
    }

    /// From the wire.
    ///
    /// # Errors
    /// Where this is no frame, or not one as it was sent.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self> {
        let header: Self = bytemuck::pod_read_unaligned(bytes);
        let fault = |what: String| Err(RpcError::new(ErrorKind::Protocol, what));
        if header.magic != MAGIC {
            return fault(format!(
                "what was received is no frame: it begins with {:02x?} where \"DLR1\" was expected; is this a DeltaLite port, and are both sides on TLS or neither?",
                header.magic
            ));
        }
        if crc(&bytes[..HEADER_BYTES - 4]) != header.own_crc {
            return fault(
                "a frame's header does not match its checksum: it was damaged on the way".to_owned(),
            );
        }
        if header.spare != 0 || header.spare2 != 0 || header.flags & !(FLAG_MORE | FLAG_LAST | FLAG_BARE) != 0
        {
            return fault("a frame uses a feature of a later version".to_owned());
        }
        Ok(header)
    }

    /// Whether the body has a checksum.
    pub fn is_checked(&self) -> bool {
        self.flags & FLAG_BARE == 0
    }

    /// Whether the body, whose checksum is given, is as it was sent.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check_body(&self, crc: u32) -> Result<()> {
        if !self.is_checked() || crc == self.body_crc {
            return Ok(());
        }
        Err(RpcError::new(
            ErrorKind::Protocol,
            format!(
                "a frame of {} bytes does not match its checksum: it was damaged on the way",
                self.body_bytes()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_and_every_flipped_bit_is_seen() {
        let mut header = Header::new(Kind::Data, 7);
        header.payload_bytes = 100;
        header.meta_bytes = 3;
        header.credit = u64::MAX;
        let sealed = header.seal(9);
        let bytes: [u8; HEADER_BYTES] = bytemuck::cast(sealed);
        assert_eq!(Header::parse(&bytes).unwrap(), sealed);
        assert_eq!(sealed.body_bytes(), 164);
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::parse(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn checksums_do_not_depend_on_the_pieces() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        for cuts in [vec![], vec![3], vec![600], vec![100, 200, 2000], vec![511, 1023, 4999]] {
            let mut pieces = Vec::new();
            let mut at = 0;
            for cut in cuts.iter().copied().chain([bytes.len()]) {
                pieces.push(&bytes[at..cut]);
                at = cut;
            }
            assert_eq!(BodyCrc::of(pieces.into_iter()), crc32c::crc32c(&bytes), "{cuts:?}");
        }
    }
}
