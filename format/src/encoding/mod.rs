//! Encodings: how the values of a page become a tree of nodes, and back.
//!
//! * [`boolean`], [`int`], [`float`], [`wide`], [`fixed`] (byte strings of one length), [`bytes`] (of any length) – the families;
//! * [`dictionary`] – values shared by the pages of a chunk, and codes into them.
//!
//! Each family has an encoder that keeps, per stream, the choice it made (re-sampled when sizes drift), and a decoder that is
//! opened on a [`crate::page::NodeView`], checks all it will rely on, and then decodes ranges, takes rows, and evaluates
//! predicates on the encoded values.

pub mod boolean;
mod bounds;
pub mod bytes;
pub mod dictionary;
pub mod fixed;
pub mod float;
#[cfg(test)]
mod fuzz;
pub mod int;
pub mod wide;

use deltalite_alloc::BufferPool;

use dictionary::ChunkDictionary;

/// What a writer prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Fast to write and to scan, small enough.
    #[default]
    Default,
    /// Smallest, at the price of slower reads.
    Compact,
    /// Values as they are, so that a scan hands out the bytes that were read.
    Plain,
}

/// What every encoder is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct EncodeOptions {
    /// The preference.
    pub profile: Profile,
}

/// What every decoder is told.
#[derive(Debug, Clone, Copy)]
pub struct DecodeContext<'a> {
    /// The chunk's shared dictionary, when its pages use one.
    pub dictionary: Option<&'a ChunkDictionary>,
    /// Where buffers for decoded bytes come from.
    pub pool: &'a BufferPool,
    /// Whether byte strings must be valid UTF-8.
    pub utf8: bool,
}
