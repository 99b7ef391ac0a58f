//! Bloom filters: which values a chunk certainly does not have.
//!
//! The split-block filter of Putze, Sanders and Singler, with the constants that Parquet's format gives it: a value touches one
//! block of 256 bits and sets one bit in each of its eight words. Stored as the blocks, words little-endian, nothing else.
//!
//! ```
//! use arrow_array::StringArray;
//! use deltalite_format::bloom::{BloomBuilder, BloomView};
//!
//! let mut builder = BloomBuilder::default();
//! builder.insert_array(&StringArray::from(vec!["apple", "pear"]));
//! let bytes = builder.finish(0.01);
//! let filter = BloomView::new(&bytes)?;
//! assert!(filter.may_contain_bytes(b"pear"));
//! assert!(!filter.may_contain_bytes(b"plum"));
//! # Ok::<(), deltalite_format::FormatError>(())
//! ```

use arrow_array::Array;

use crate::error::{FormatError, Result};
use crate::hash::{for_each_hash, hash_bytes, hash_float, hash_int};
use crate::limits::BLOOM_BYTES_MAX;

const BLOCK_BYTES: usize = 32;
const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// Gathers the values of a chunk, so that the filter is made as large as the distinct values ask for.
#[derive(Debug, Clone, Default)]
pub struct BloomBuilder {
    hashes: Vec<u64>,
    /// Length after which duplicates are dropped again.
    compact_at: usize,
}

impl BloomBuilder {
    /// Adds every value that is not null. Nested types add nothing.
    pub fn insert_array(&mut self, array: &dyn Array) {
        let mut last = None;
        for_each_hash(array, &mut |h| {
            // Runs are common, and cheap to drop here.
            if last != Some(h) {
                self.hashes.push(h);
                last = Some(h);
            }
        });
        if self.hashes.len() > self.compact_at {
            self.compact();
            self.compact_at = (2 * self.hashes.len()).max(1 << 16);
        }
    }

    fn compact(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
    }

    /// The filter over the values added so far, which errs about `false_positives` (0–1) of the time on values it lacks, and
    /// starts over. Without values the filter has no bytes.
    pub fn finish(&mut self, false_positives: f64) -> Vec<u8> {
        self.compact();
        let hashes = std::mem::take(&mut self.hashes);
        self.compact_at = 0;
        if hashes.is_empty() {
            return Vec::new();
        }
        let p = false_positives.clamp(1e-6, 0.5);
        let bits = -8.0 * hashes.len() as f64 / (1.0 - p.powf(1.0 / 8.0)).ln();
        let blocks = ((bits / 256.0).ceil() as usize).clamp(1, BLOOM_BYTES_MAX / BLOCK_BYTES);
        let mut bytes = vec![0; blocks * BLOCK_BYTES];
        for hash in hashes {
            let at = block_of(hash, blocks) * BLOCK_BYTES;
            for (i, word) in bytes[at..at + BLOCK_BYTES].chunks_exact_mut(4).enumerate() {
                word[bit_of(hash, i) / 8] |= 1 << (bit_of(hash, i) % 8);
            }
        }
        bytes
    }
}

fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

fn bit_of(hash: u64, word: usize) -> usize {
    ((hash as u32).wrapping_mul(SALTS[word]) >> 27) as usize
}

/// A stored filter.
#[derive(Debug, Clone, Copy)]
pub struct BloomView<'a> {
    bytes: &'a [u8],
}

impl<'a> BloomView<'a> {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the bytes are no whole number of blocks.
    pub fn new(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len().is_multiple_of(BLOCK_BYTES) {
            Ok(Self { bytes })
        } else {
            let detail = format!("{} bytes are no whole number of blocks of {BLOCK_BYTES}", bytes.len());
            Err(FormatError::corrupt("bloom filter", detail))
        }
    }

    /// Whether a value with this hash may be there; `false` is certain.
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        if self.bytes.is_empty() {
            return false;
        }
        let at = block_of(hash, self.bytes.len() / BLOCK_BYTES) * BLOCK_BYTES;
        let mut words = self.bytes[at..at + BLOCK_BYTES].chunks_exact(4).enumerate();
        words.all(|(i, word)| word[bit_of(hash, i) / 8] >> (bit_of(hash, i) % 8) & 1 != 0)
    }

    /// Whether an integer (a date in days, an unscaled decimal, …) may be there.
    pub fn may_contain_int(&self, v: i128) -> bool {
        self.may_contain(hash_int(v))
    }

    /// Whether a float may be there. NaNs are not told apart.
    pub fn may_contain_float(&self, v: f64) -> bool {
        self.may_contain(hash_float(v))
    }

    /// Whether a string or binary may be there.
    pub fn may_contain_bytes(&self, v: &[u8]) -> bool {
        self.may_contain(hash_bytes(v))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryArray, Float32Array, Int64Array};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_present_is_denied(
            ints in prop::collection::vec(any::<i64>(), 0..300),
            floats in prop::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..300),
            bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..100),
        ) {
            let mut b = BloomBuilder::default();
            b.insert_array(&Int64Array::from(ints.clone()));
            b.insert_array(&Float32Array::from(floats.clone()));
            b.insert_array(&BinaryArray::from_iter_values(&bytes));
            let filter = b.finish(0.05);
            let filter = BloomView::new(&filter).unwrap();
            prop_assert!(ints.iter().all(|&v| filter.may_contain_int(v.into())));
            prop_assert!(floats.iter().all(|&v| filter.may_contain_float(v.into())));
            prop_assert!(bytes.iter().all(|v| filter.may_contain_bytes(v)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), v: i128) {
            if let Ok(filter) = BloomView::new(&bytes) {
                let _ = filter.may_contain_int(v);
            } else {
                prop_assert!(bytes.len() % 32 != 0);
            }
        }
    }

    #[test]
    fn absent_values_are_mostly_denied() {
        let mut b = BloomBuilder::default();
        b.insert_array(&Int64Array::from_iter_values((0..50_000).map(|i| i % 20_000)));
        let bytes = b.finish(0.01);
        assert!(bytes.len() < 20_000 * 12 / 8);
        let filter = BloomView::new(&bytes).unwrap();
        let wrong = (20_000..120_000).filter(|&v| filter.may_contain_int(v)).count();
        assert!(wrong < 2_000, "{wrong} of 100,000");
        assert!(!BloomView::new(&BloomBuilder::default().finish(0.01)).unwrap().may_contain_int(0));
    }
}
