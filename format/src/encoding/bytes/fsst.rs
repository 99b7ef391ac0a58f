//! FSST: bytes as codes into a table of at most 255 symbols of 1 to 8 bytes (Boncz, Neumann, Leis: FSST, VLDB 2020).
//!
//! Code 255 is the escape: the byte after it stands for itself. Values of 128 rows are coded as one string, so symbols reach over
//! the boundaries of values: that is smaller, and decoding is one run. A row costs at most its 128.
//!
//! The table in a page: the symbols' lengths, one byte each, then the symbols' bytes one after another.

use crate::error::Result;
use crate::kernels::Level;
pub(super) use crate::kernels::symbols::SLACK;
use crate::kernels::symbols::Symbols;
use crate::page::NodeView;

/// Code after which a byte stands for itself.
const ESCAPE: u8 = 255;
/// Most bytes that a code stands for.
pub(super) const EXPANSION_MAX: usize = 8;

/// What codes stand for.
#[derive(Debug, Clone)]
pub(super) struct SymbolTable(Symbols);

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
        let mut symbols = Symbols::none();
        for (i, &len) in lens.iter().enumerate() {
            let n = usize::from(len);
            if !(1..=8).contains(&n) || n > rest.len() {
                return Err(bad());
            }
            let word = match rest.first_chunk::<8>() {
                Some(word) => u64::from_le_bytes(*word) & (u64::MAX >> (64 - 8 * n)),
                None => rest[..n].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
            };
            symbols.set(i, word, len);
            rest = &rest[n..];
        }
        if rest.is_empty() { Ok(Self(symbols)) } else { Err(bad()) }
    }

    /// Writes what `codes` stand for to the start of `out`, until there are `enough` bytes, and returns how many there are; `None`
    /// when an escape is cut off or `out` is full. Bytes of `out` past what is returned may be overwritten.
    pub(super) fn decode(&self, codes: &[u8], out: &mut [u8], enough: usize) -> Option<usize> {
        self.0.decode(Level::current(), codes, out, enough, ESCAPE)
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
