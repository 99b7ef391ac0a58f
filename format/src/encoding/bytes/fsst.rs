//! FSST: bytes as codes into a table of at most 255 symbols of 1 to 8 bytes (Boncz, Neumann, Leis: FSST, VLDB 2020).
//!
//! Code 255 is the escape: the byte after it stands for itself. Values of 128 rows are coded as one string, so symbols reach over
//! the boundaries of values: that is smaller, and decoding is one run. A row costs at most its 128.
//!
//! The table in a page: the symbols' lengths, one byte each, then the symbols' bytes one after another.

use crate::error::Result;
use crate::page::NodeView;

/// Code after which a byte stands for itself.
const ESCAPE: u8 = 255;
/// Bytes that decoding may write past a symbol's end, and needs to have room for to go fast.
pub(super) const SLACK: usize = 64;
/// Most bytes that a code stands for.
pub(super) const EXPANSION_MAX: usize = 8;

/// What codes stand for.
#[derive(Debug, Clone)]
pub(super) struct SymbolTable {
    symbols: [u64; 256],
    lengths: [u8; 256],
}

impl SymbolTable {
    /// Reads a table of `count` symbols from the node's buffer 0.
    pub(super) fn open(node: &NodeView<'_>, count: u64) -> Result<Self> {
        let bytes = node.bytes(0)?;
        let bad = || node.corrupt(format!("{count} symbols in {} bytes", bytes.len()));
        let count = usize::try_from(count)
            .ok()
            .filter(|&n| n <= ESCAPE as usize && n <= bytes.len())
            .ok_or_else(bad)?;
        let (lens, mut rest) = bytes.split_at(count);
        let mut table = Self { symbols: [0; 256], lengths: [0; 256] };
        for (i, &len) in lens.iter().enumerate() {
            let n = usize::from(len);
            if !(1..=8).contains(&n) || n > rest.len() {
                return Err(bad());
            }
            let word = match rest.first_chunk::<8>() {
                Some(word) => u64::from_le_bytes(*word) & (u64::MAX >> (64 - 8 * n)),
                None => rest[..n].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
            };
            (table.symbols[i], table.lengths[i], rest) = (word, len, &rest[n..]);
        }
        if rest.is_empty() { Ok(table) } else { Err(bad()) }
    }

    /// Writes what `codes` stand for to the start of `out`, until there are `enough` bytes, and returns how many there are; `None`
    /// when an escape is cut off or `out` is full. Bytes of `out` past what is returned may be overwritten.
    pub(super) fn decode(&self, codes: &[u8], out: &mut [u8], enough: usize) -> Option<usize> {
        let (mut i, mut o) = self.decode_words(codes, out, enough);
        while let Some(&code) = codes.get(i)
            && o < enough
        {
            i += 1;
            if code == ESCAPE {
                *out.get_mut(o)? = *codes.get(i)?;
                i += 1;
                o += 1;
            } else {
                let n = self.lengths[code as usize] as usize;
                out.get_mut(o..o + n)?.copy_from_slice(&self.symbols[code as usize].to_le_bytes()[..n]);
                o += n;
            }
        }
        Some(o)
    }

    /// Decodes eight codes at a time while there are eight, and room for what eight can become.
    #[inline(always)]
    fn decode_words(&self, codes: &[u8], out: &mut [u8], enough: usize) -> (usize, usize) {
        let (mut i, mut o) = (0, 0);
        let (codes_len, out_len) = (codes.len(), out.len());
        let dst = out.as_mut_ptr();
        let last = out_len.saturating_sub(SLACK - 1).min(enough);
        while i + 8 <= codes_len && o < last {
            // SAFETY: `i + 8 <= codes.len()`.
            let word = unsafe { codes.as_ptr().add(i).cast::<u64>().read_unaligned() };
            let word = u64::from_le(word);
            // The lowest byte that is 255 is a zero byte of the inverse; bits above it may be wrong, which `trailing_zeros` does not see.
            let inverse = !word;
            let escapes = inverse.wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            let plain = (escapes.trailing_zeros() / 8) as usize;
            let mut store = |code: u64| {
                let code = code as u8 as usize;
                // SAFETY: eight symbols of at most 8 bytes, each stored as 8 bytes, end at `o + 64 <= out.len()` or before.
                unsafe { dst.add(o).cast::<[u8; 8]>().write_unaligned(self.symbols[code].to_le_bytes()) };
                o += self.lengths[code] as usize;
            };
            if plain == 8 {
                for k in 0..8 {
                    store(word >> (8 * k));
                }
                i += 8;
            } else {
                for k in 0..plain {
                    store(word >> (8 * k));
                }
                i += plain;
                if let Some(&literal) = codes.get(i + 1) {
                    // SAFETY: at most seven symbols were stored, so `o + 1 <= out.len()`.
                    unsafe { dst.add(o).write(literal) };
                    o += 1;
                    i += 2;
                } else {
                    break;
                }
            }
        }
        (i, o)
    }
}

/// A table's buffer, for the page.
pub(super) fn table_bytes(compressor: &fsst::Compressor) -> Vec<u8> {
    let lengths = compressor.symbol_lengths();
    let mut bytes = lengths.to_vec();
    for (symbol, &len) in compressor.symbol_table().iter().zip(lengths) {
        bytes.extend_from_slice(&symbol.to_u64().to_le_bytes()[..len as usize]);
    }
    bytes
}

/// Trains a table on parts of `bytes`, spread evenly.
pub(super) fn train(bytes: &[u8]) -> fsst::Compressor {
    /// Enough to find the frequent symbols; the trainer takes its own sample of it.
    const PARTS: usize = 256;
    const PART: usize = 512;
    let sample: Vec<&[u8]> = if bytes.len() <= PARTS * PART {
        bytes.chunks(PART).collect()
    } else {
        let step = bytes.len() / PARTS;
        (0..PARTS).map(|i| &bytes[i * step..][..PART]).collect()
    };
    fsst::Compressor::train(&sample)
}

/// Codes of each of the parts of `bytes` that `starts` bounds, one after another, and where each starts and the last ends.
pub(super) fn encode(compressor: &fsst::Compressor, bytes: &[u8], starts: &[u32]) -> (Vec<u8>, Vec<u32>) {
    let parts: Vec<&[u8]> = starts.windows(2).map(|w| &bytes[w[0] as usize..w[1] as usize]).collect();
    let (mut codes, mut ends) = (Vec::new(), Vec::new());
    compressor.compress_bulk_into::<{ fsst::Compressor::DEFAULT_BULK_LANES }>(&parts, &mut codes, &mut ends);
    (codes, std::iter::once(0).chain(ends.into_iter().map(|end| end as u32)).collect())
}
