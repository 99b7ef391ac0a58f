//! A page: the encoded values of one stream for up to 65,536 rows, as a small tree of nodes over buffers.
//!
//! * [`builder`] – writes the tree;
//! * [`view`] – validates the tree and hands out nodes and their buffers without a copy.
//!
//! ```text
//! 0   u32 values        number of values of the page
//! 4   u8  nodes         number of nodes, ≤ 32
//! 5   u8  buffers       number of buffers, ≤ 96
//! 6   u8  flags         bit 0: the second tree is the validity of the first
//! 7   u8  0
//! 8   nodes × 32 B      NodeRecord, pre-order: a node, then its children's trees
//!     buffers × 8 B     BufferRecord { u32 offset from the page's start, u32 length in bytes }
//!     …                 buffers, each at a multiple of 64 from the page's start, zeros between
//! ```

pub mod builder;
pub mod view;

use bytemuck::{Pod, Zeroable};

pub use builder::{NodeSpec, PageBuilder};
pub use view::{NodeView, PageView};

/// The page header's size in bytes.
pub const PAGE_HEADER_BYTES: usize = 8;

/// Flag: the page has a second tree, the validity (`Bool`, true = not null).
pub const FLAG_VALIDITY: u8 = 1;

/// What a node is: how its values are encoded. The number is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EncodingKind {
    /// Values as they are: fixed-width little-endian, one buffer.
    Plain = 0,
    /// One value, in a buffer (or none for `len` 0).
    Constant = 1,
    /// Frame of reference and FastLanes bit-packing with per-vector patches.
    BitPack = 2,
    /// Differences, bit-packed.
    Delta = 3,
    /// Runs: values and run ends.
    RunEnd = 4,
    /// `start + i * step`.
    Sequence = 5,
    /// One frequent value, and positions and values of the others.
    Sparse = 6,
    /// Codes into a dictionary in the page (second child) or, with flag 1, shared by the chunk.
    Dictionary = 7,
    /// Adaptive lossless floating point (doubles and floats that were decimals).
    Alp = 8,
    /// ALP for real doubles: front bits by dictionary, the rest bit-packed.
    AlpRd = 9,
    /// Strings compressed by a symbol table.
    Fsst = 10,
    /// zstd frames.
    Zstd = 11,
    /// pcodec (compact profile).
    Pco = 12,
    /// Wide integers that fit a narrower type, which the child holds.
    Narrow = 13,
    /// Strings as lengths (child) and bytes.
    BytesPlain = 14,
    /// Booleans as a bitmap, LSB first.
    Bitmap = 15,
}

impl EncodingKind {
    /// The kind with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        use EncodingKind::{
            Alp, AlpRd, BitPack, Bitmap, BytesPlain, Constant, Delta, Dictionary, Fsst, Narrow, Pco, Plain,
            RunEnd, Sequence, Sparse, Zstd,
        };
        const ALL: [EncodingKind; 16] = [
            Plain, Constant, BitPack, Delta, RunEnd, Sequence, Sparse, Dictionary, Alp, AlpRd, Fsst, Zstd,
            Pco, Narrow, BytesPlain, Bitmap,
        ];
        ALL.get(code as usize).copied()
    }

    /// The name people see in `inspect`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Constant => "constant",
            Self::BitPack => "bitpack",
            Self::Delta => "delta",
            Self::RunEnd => "run-end",
            Self::Sequence => "sequence",
            Self::Sparse => "sparse",
            Self::Dictionary => "dictionary",
            Self::Alp => "alp",
            Self::AlpRd => "alp-rd",
            Self::Fsst => "fsst",
            Self::Zstd => "zstd",
            Self::Pco => "pco",
            Self::Narrow => "narrow",
            Self::BytesPlain => "bytes",
            Self::Bitmap => "bitmap",
        }
    }
}

/// A node as it lies in the page.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct NodeRecord {
    /// [`EncodingKind`].
    pub kind: u8,
    /// [`crate::phys::PhysType`] of the node's values.
    pub ptype: u8,
    /// Meaning depends on the kind.
    pub flags: u8,
    /// Number of direct children.
    pub children: u8,
    /// Number of values.
    pub len: u32,
    /// First of the node's own buffers in the page's list.
    pub first_buffer: u16,
    /// Number of the node's own buffers.
    pub buffers: u16,
    /// Width of `Fixed` values in bytes; else meaning depends on the kind.
    pub width: u32,
    /// Meaning depends on the kind.
    pub p0: u64,
    /// Meaning depends on the kind.
    pub p1: u64,
}

/// A buffer as it is listed in the page.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct BufferRecord {
    /// Offset from the start of the page in bytes, a multiple of 64.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}
