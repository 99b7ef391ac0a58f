//! CRC-32C (Castagnoli), the one checksum of the format.

use crate::error::{FormatError, Place, Result};

/// Below this many bytes the call overhead of the wide implementation exceeds what it saves.
const WIDE_FROM_BYTES: usize = 512;

/// CRC-32C of `bytes`, as RFC 3720 defines it.
///
/// Short inputs go to crate `crc32c`; pages go to `crc-fast`, which folds with the widest multiplier the machine has and is
/// about twice as fast from 4 KiB up.
///
/// ```
/// assert_eq!(deltalite_format::checksum::crc32c(b"123456789"), 0xE306_9283);
/// ```
pub fn crc32c(bytes: &[u8]) -> u32 {
    if bytes.len() < WIDE_FROM_BYTES {
        crc32c::crc32c(bytes)
    } else {
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
    }
}

/// Compares a stored checksum with that of the bytes.
///
/// # Errors
/// [`FormatError::Checksum`] when they differ.
pub fn verify(what: &'static str, offset: u64, bytes: &[u8], stored: u32) -> Result<()> {
    let computed = crc32c(bytes);
    if computed == stored {
        Ok(())
    } else {
        Err(FormatError::Checksum { what, at: Place::at(offset), stored, computed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_implementations_agree() {
        let bytes: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for n in [0, 1, 511, 512, 513, 4096, 5000] {
            assert_eq!(crc32c(&bytes[..n]), crc32c::crc32c(&bytes[..n]), "{n} bytes");
        }
    }
}
