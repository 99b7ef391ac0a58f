//! The archived types of version 1. Frozen: golden files in the tests hold their bytes.

use rkyv::{Archive, Serialize};

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct KeyValueV1 {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// A field; the fields below it follow it in the list.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct FieldV1 {
    /// Name, unique among its siblings.
    pub name: String,
    /// Stable id.
    pub id: u32,
    /// Type code of `docs/format.md`.
    pub type_code: u8,
    /// Whether values may be null.
    pub nullable: bool,
    /// Number of direct children.
    pub children: u32,
    /// First parameter of the type (unit, precision, width).
    pub p0: i64,
    /// Second parameter of the type (scale, whether there is a zone).
    pub p1: i64,
    /// Text of the type (zone, a dictionary's value type).
    pub text: String,
    /// The field's other metadata, by key.
    pub metadata: Vec<KeyValueV1>,
}

/// The schema section.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct SchemaV1 {
    /// All fields in pre-order.
    pub fields: Vec<FieldV1>,
    /// The schema's own metadata, by key.
    pub metadata: Vec<KeyValueV1>,
}

/// The key-value section.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct KeyValuesV1 {
    /// The pairs, by key.
    pub pairs: Vec<KeyValueV1>,
}

/// A page of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Archive, Serialize)]
pub struct PageV1 {
    /// Offset from the block's first page, in bytes.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
    /// CRC-32C of the page.
    pub crc: u32,
    /// Number of values.
    pub values: u32,
    /// Number of nulls.
    pub nulls: u32,
    /// Unit of the block that the page belongs to.
    pub unit: u32,
    /// Encoding of the root node.
    pub encoding: u8,
}

/// A stream's pages in one block.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct ChunkV1 {
    /// Pages in order of rows.
    pub pages: Vec<PageV1>,
    /// The shared dictionary's page, if any.
    pub dictionary: Option<PageV1>,
}

/// The block section: every stream's chunk, columns in order.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct BlockV1 {
    /// Chunks of all streams, in order of the schema.
    pub chunks: Vec<ChunkV1>,
}

/// A stream's chunk with its statistics, as a column's metadata lists it.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct ChunkStatsV1 {
    /// The chunk.
    pub chunk: ChunkV1,
    /// Zone statistics: for each zone of 8,192 rows (counted from the start of each unit): `min`, `max` (keys, little-endian, of the
    /// stream's key width), `u16` nulls, `u16` NaNs, `u16` rows. Empty for streams without statistics.
    pub zones: Vec<u8>,
}

/// Exact bounds of a column, as far as they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct BoundsV1 {
    /// Smallest value: the stored little-endian bytes of a number, the bytes of a string (at most 64, else a prefix).
    pub min: Vec<u8>,
    /// Largest value, in the same way.
    pub max: Vec<u8>,
    /// Whether `min` is the value itself, not a prefix.
    pub min_exact: bool,
    /// Whether `max` is the value itself, not a prefix.
    pub max_exact: bool,
}

/// A stream of a column.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct StreamV1 {
    /// One entry a block.
    pub blocks: Vec<ChunkStatsV1>,
}

/// A column's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Archive, Serialize)]
pub struct ColumnV1 {
    /// The column's field and those below it, in pre-order.
    pub fields: Vec<FieldV1>,
    /// The streams, in the order of the column's shape.
    pub streams: Vec<StreamV1>,
    /// Number of nulls.
    pub nulls: u64,
    /// Number of NaNs.
    pub nans: u64,
    /// Smallest and largest value of a leaf column with any.
    pub bounds: Option<BoundsV1>,
    /// Distinct-value sketch of a leaf column, if kept.
    pub sketch: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// The layouts of `docs/format.md`.
    #[test]
    fn archives_lie_as_specified() {
        assert_eq!(size_of::<ArchivedKeyValueV1>(), 16);
        assert_eq!((offset_of!(ArchivedKeyValueV1, key), offset_of!(ArchivedKeyValueV1, value)), (0, 8));
        assert_eq!(size_of::<ArchivedFieldV1>(), 50);
        let at = [
            offset_of!(ArchivedFieldV1, name),
            offset_of!(ArchivedFieldV1, id),
            offset_of!(ArchivedFieldV1, type_code),
            offset_of!(ArchivedFieldV1, nullable),
            offset_of!(ArchivedFieldV1, children),
            offset_of!(ArchivedFieldV1, p0),
            offset_of!(ArchivedFieldV1, p1),
            offset_of!(ArchivedFieldV1, text),
            offset_of!(ArchivedFieldV1, metadata),
        ];
        assert_eq!(at, [0, 8, 12, 13, 14, 18, 26, 34, 42]);
        assert_eq!(size_of::<ArchivedSchemaV1>(), 16);
        assert_eq!((offset_of!(ArchivedSchemaV1, fields), offset_of!(ArchivedSchemaV1, metadata)), (0, 8));
        assert_eq!(size_of::<ArchivedKeyValuesV1>(), 8);
        assert_eq!(size_of::<ArchivedPageV1>(), 25);
        let at = [
            offset_of!(ArchivedPageV1, offset),
            offset_of!(ArchivedPageV1, len),
            offset_of!(ArchivedPageV1, crc),
            offset_of!(ArchivedPageV1, values),
            offset_of!(ArchivedPageV1, nulls),
            offset_of!(ArchivedPageV1, unit),
            offset_of!(ArchivedPageV1, encoding),
        ];
        assert_eq!(at, [0, 4, 8, 12, 16, 20, 24]);
        assert_eq!(size_of::<ArchivedChunkV1>(), 34);
        assert_eq!((offset_of!(ArchivedChunkV1, pages), offset_of!(ArchivedChunkV1, dictionary)), (0, 8));
        assert_eq!(size_of::<ArchivedBlockV1>(), 8);
        assert_eq!(size_of::<ArchivedChunkStatsV1>(), 42);
        assert_eq!(offset_of!(ArchivedChunkStatsV1, zones), 34);
        assert_eq!(size_of::<ArchivedStreamV1>(), 8);
        assert_eq!(size_of::<ArchivedBoundsV1>(), 18);
        let at = [
            offset_of!(ArchivedBoundsV1, min),
            offset_of!(ArchivedBoundsV1, max),
            offset_of!(ArchivedBoundsV1, min_exact),
            offset_of!(ArchivedBoundsV1, max_exact),
        ];
        assert_eq!(at, [0, 8, 16, 17]);
        assert_eq!(size_of::<ArchivedColumnV1>(), 59);
        let at = [
            offset_of!(ArchivedColumnV1, fields),
            offset_of!(ArchivedColumnV1, streams),
            offset_of!(ArchivedColumnV1, nulls),
            offset_of!(ArchivedColumnV1, nans),
            offset_of!(ArchivedColumnV1, bounds),
            offset_of!(ArchivedColumnV1, sketch),
        ];
        assert_eq!(at, [0, 8, 16, 24, 32, 51]);
    }
}
