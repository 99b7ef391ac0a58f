//! Dictionaries: the distinct values that codes of a chunk's pages point to.

use arrow_buffer::Buffer;

/// The decoded dictionary of a chunk.
#[derive(Debug, Clone)]
pub enum ChunkDictionary {
    /// Integers of at most 64 bits, as the lane's bits, zero-extended.
    Ints(Vec<u64>),
    /// 128-bit integers.
    Wide(Vec<i128>),
    /// Byte strings in Arrow's view format; buffer indices are positions in `data`.
    Bytes {
        /// One view a value.
        views: Vec<u128>,
        /// What the views point to.
        data: Vec<Buffer>,
    },
}
