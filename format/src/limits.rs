//! Every size and limit of the format, in one place. Writers obey them; readers refuse what exceeds them.

/// Values in a vector: the FastLanes unit, decodable on its own.
pub const VECTOR_ROWS: usize = 1024;
/// Rows in a zone: the smallest unit of min/max/null statistics.
pub const ZONE_ROWS: usize = 8192;
/// Most rows of a unit, and so of a page of a flat column.
pub const UNIT_ROWS_MAX: usize = 65_536;
/// Most rows of a block.
pub const BLOCK_ROWS_MAX: u64 = 1 << 20;
/// Default size at which a block is closed, in encoded bytes.
pub const BLOCK_BYTES_DEFAULT: u64 = 64 << 20;
/// Encoded size above which a page is halved.
pub const PAGE_BYTES_TARGET: usize = 1 << 20;
/// Largest encoded page a reader accepts, in bytes (one value of the largest length, with its page around it).
pub const PAGE_BYTES_MAX: usize = 1 << 30;
/// Most values of a page: child pages of lists are cut at the same size as flat ones.
pub const PAGE_VALUES_MAX: usize = UNIT_ROWS_MAX;
/// Alignment of blocks, chunk extents and direct reads, in bytes.
pub const EXTENT_ALIGN: u64 = 4096;
/// Alignment of pages in an extent and of buffers in a page, in bytes.
pub const PAGE_ALIGN: usize = 64;
/// Largest cascade of encodings: a node, its children and theirs.
pub const CASCADE_DEPTH_MAX: usize = 3;
/// Most nodes of one page.
pub const PAGE_NODES_MAX: usize = 32;
/// Most buffers of one page.
pub const PAGE_BUFFERS_MAX: usize = 96;
/// Deepest nesting of types.
pub const TYPE_DEPTH_MAX: usize = 64;
/// Longest bound of a column that is kept whole, in bytes.
pub const BOUND_BYTES_MAX: usize = 64;
/// Largest bloom filter of a chunk, in bytes.
pub const BLOOM_BYTES_MAX: usize = 8 << 20;
/// Most digits of decimals that fit 64 bits, whatever they are: those that scans can yield unscaled.
pub const UNSCALED_DIGITS_MAX: u8 = 18;
/// Deepest nesting of a predicate.
pub const PREDICATE_DEPTH_MAX: usize = 128;
