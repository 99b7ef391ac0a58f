//! The fixed-width structures of a file, byte by byte. All integers are little-endian.
//!
//! ```text
//! 0        FileHeader (128 B) · schema section · zeros to a multiple of 4,096
//! block b  at a multiple of 4,096:
//!          BlockHeader (128 B) · block section (crc32c'd with the header) · zeros to a multiple of 64
//!          pages of column 0, column 1, … each page at a multiple of 64, a chunk of ≥ 64 KiB at a multiple of 4,096
//! footer   at a multiple of 4,096: sections, each at a multiple of 64
//!          section table (SectionEntry × n) · Tail (64 B, the file's last bytes)
//! ```

use bytemuck::{Pod, Zeroable};

/// First bytes of a file, and last bytes of its tail.
pub const MAGIC: [u8; 8] = *b"DLTALITE";
/// Version of the format.
pub const VERSION: u32 = 1;
/// Size of the tail in bytes.
pub const TAIL_BYTES: usize = 64;

/// The file's first 128 bytes.
///
/// The masks are those of ext4: a reader ignores unknown bits of `compat`, must not write a file with unknown bits of
/// `read_compat`, and must not read one with unknown bits of `incompat`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct FileHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u32,
    /// Length of the schema section that follows, in bytes.
    pub schema_len: u32,
    /// Features that any reader may ignore.
    pub compat: u64,
    /// Features that forbid appending.
    pub read_compat: u64,
    /// Features that forbid reading.
    pub incompat: u64,
    /// Random identity of the file.
    pub uuid: [u8; 16],
    /// Random marker that starts every block of this file.
    pub sync: [u8; 16],
    /// CRC-32C of the schema section.
    pub schema_crc: u32,
    /// Zero.
    pub reserved: [u8; 48],
    /// CRC-32C of the bytes before.
    pub crc: u32,
}

/// The first 128 bytes of a block.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct BlockHeader {
    /// The file's sync marker.
    pub sync: [u8; 16],
    /// The file's identity.
    pub uuid: [u8; 16],
    /// Offset of this header in the file.
    pub offset: u64,
    /// Offset of the block before, or 0.
    pub previous: u64,
    /// Number of the file's first row in this block.
    pub first_row: u64,
    /// Number of rows.
    pub rows: u64,
    /// Length of the block in bytes, header to end, a multiple of 4,096.
    pub length: u64,
    /// Ordinal of the block in the file.
    pub ordinal: u32,
    /// Rows of a unit; every unit but the last has as many.
    pub unit_rows: u32,
    /// Length of the block section, in bytes.
    pub section_len: u32,
    /// Offset of the first page from the start of the block, in bytes: what page offsets count from.
    pub data_start: u32,
    /// Zero.
    pub reserved: [u8; 32],
    /// CRC-32C of the block section.
    pub section_crc: u32,
    /// CRC-32C of the bytes before.
    pub crc: u32,
}

/// What a section of the footer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum SectionKind {
    /// Pages of the name index, 4 KiB each.
    NameIndex = 1,
    /// [`ColumnEntry`] × columns.
    Columns = 2,
    /// [`BlockEntry`] × blocks.
    Blocks = 3,
    /// The schema, as in the header.
    Schema = 4,
    /// Key-value pairs.
    KeyValues = 5,
}

/// A section of the footer.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct SectionEntry {
    /// [`SectionKind`]; unknown kinds are skipped.
    pub kind: u32,
    /// Version of the section's own layout.
    pub version: u32,
    /// Offset in the file.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// CRC-32C of the section; of kinds whose parts carry their own ([`SectionKind::NameIndex`], [`SectionKind::Columns`]) 0.
    pub crc: u32,
    /// Number of entries in the section.
    pub count: u32,
}

/// The file's last 64 bytes.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Tail {
    /// Offset of the section table.
    pub table_offset: u64,
    /// Number of entries of the section table.
    pub table_count: u32,
    /// CRC-32C of the section table.
    pub table_crc: u32,
    /// Number of rows of the file.
    pub rows: u64,
    /// The file's identity.
    pub uuid: [u8; 16],
    /// Length of the file in bytes.
    pub file_len: u64,
    /// [`VERSION`].
    pub version: u32,
    /// CRC-32C of the bytes before.
    pub crc: u32,
    /// [`MAGIC`].
    pub magic: [u8; 8],
}

/// A column of the column directory.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct ColumnEntry {
    /// [`name_hash`] of the column's name.
    pub name_hash: u64,
    /// Offset of the column's metadata in the file.
    pub meta_offset: u64,
    /// Offset of the column's bloom filters in the file, 0 without.
    pub bloom_offset: u64,
    /// Encoded bytes of the column in all blocks.
    pub encoded_bytes: u64,
    /// Nulls of the column.
    pub nulls: u64,
    /// Length of the column's metadata in bytes.
    pub meta_len: u32,
    /// CRC-32C of the column's metadata.
    pub meta_crc: u32,
    /// Length of the column's bloom filters in bytes.
    pub bloom_len: u32,
    /// CRC-32C of the column's bloom filters.
    pub bloom_crc: u32,
    /// Stable id of the field.
    pub field_id: u32,
    /// CRC-32C of the bytes before.
    pub crc: u32,
}

/// A block of the block directory.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct BlockEntry {
    /// Offset of the block's header in the file.
    pub offset: u64,
    /// Length of the block in bytes.
    pub length: u64,
    /// Number of the file's first row in this block.
    pub first_row: u64,
    /// Number of rows.
    pub rows: u32,
    /// Rows of a unit.
    pub unit_rows: u32,
    /// Offset of the first page from the start of the block, in bytes.
    pub data_start: u32,
    /// CRC-32C stored in the block's header.
    pub header_crc: u32,
}

/// An entry of the name index: 4 KiB pages, each with 255 entries at most, sorted by hash over all pages.
///
/// ```text
/// 0    u32 crc32c of the bytes from 4 on · u32 entries · u64 0
/// 16   entries × 16 B
/// ```
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct NameEntry {
    /// [`name_hash`] of the name.
    pub hash: u64,
    /// Ordinal of the column.
    pub column: u32,
    /// Zero.
    pub reserved: u32,
}

/// Size of a page of the name index in bytes, except the last, which is as long as its entries.
pub const NAME_PAGE_BYTES: usize = 4096;
/// Bytes of a page of the name index before its entries.
pub const NAME_PAGE_HEADER: usize = 16;
/// Most entries of a page of the name index.
pub const NAME_PAGE_ENTRIES: usize = (NAME_PAGE_BYTES - NAME_PAGE_HEADER) / size_of::<NameEntry>();

const _: () = {
    assert!(size_of::<FileHeader>() == 128 && size_of::<BlockHeader>() == 128);
    assert!(
        size_of::<SectionEntry>() == 32 && size_of::<Tail>() == TAIL_BYTES && size_of::<ColumnEntry>() == 64
    );
    assert!(size_of::<BlockEntry>() == 40 && size_of::<NameEntry>() == 16);
};

/// Hash of a column's name for the name index: FNV-1a with a final avalanche (the index needs even spread, not secrecy).
pub fn name_hash(name: &str) -> u64 {
    let mut h = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// A checksum-terminated structure: its CRC-32C is over all bytes before its last field(s).
pub(crate) fn crc_of<T: Pod>(value: &T, covered: usize) -> u32 {
    crate::checksum::crc32c(&bytemuck::bytes_of(value)[..covered])
}
