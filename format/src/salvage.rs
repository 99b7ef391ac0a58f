//! Finding blocks without a footer: a file cut off, damaged, or still being written.
//!
//! A block's header says where it lies, how long it is and what its pages are, under a checksum and behind a marker that is
//! random for each file. So every complete block can be found from the file's header alone, by looking at multiples of 4 KiB.

use std::sync::Arc;

use bytemuck::pod_read_unaligned;

use crate::checksum::verify;
use crate::error::{FormatError, Place, Result};
use crate::layout::{BlockEntry, BlockHeader, FileHeader, MAGIC, VERSION};
use crate::limits::{BLOCK_ROWS_MAX, EXTENT_ALIGN, UNIT_ROWS_MAX};
use crate::meta::access;
use crate::meta::v1::ArchivedBlockV1;
use crate::reader::meta::{ChunkMeta, chunk_meta, page_ref, parse_schema};
use crate::reader::{FileMeta, ReadAt};
use crate::schema::SchemaDefinition;
use crate::schema::shape::{ColumnShape, StreamSpec};
use crate::split::SplitSpec;

/// Bytes looked at together while searching for a marker.
const WINDOW_BYTES: u64 = 1 << 20;

/// A file's header, decoded.
#[derive(Debug, Clone)]
pub struct Header {
    /// The fixed part.
    pub fixed: FileHeader,
    /// The schema.
    pub schema: SchemaDefinition,
}

/// Reads and checks a file's header and schema.
///
/// # Errors
/// When the file doesn't start as a DeltaLite file does, or its header is damaged.
pub fn read_header(source: &dyn ReadAt) -> Result<Header> {
    let size = size_of::<FileHeader>();
    if source.len() < size as u64 {
        return Err(FormatError::NotDeltaLite {
            at: Place::at(0),
            detail: format!("{} bytes are shorter than a header", source.len()),
        });
    }
    let bytes = source.read_at(0, size)?;
    let fixed: FileHeader = pod_read_unaligned(&bytes);
    if fixed.magic != MAGIC {
        return Err(FormatError::NotDeltaLite {
            at: Place::at(0),
            detail: "its first 8 bytes are not DLTALITE".to_owned(),
        });
    }
    verify("file header", 0, &bytes[..124], fixed.crc)?;
    if fixed.version != VERSION || fixed.incompat != 0 {
        return Err(FormatError::Unsupported {
            at: Place::at(0),
            detail: format!("format version {} with features {:#x}", fixed.version, fixed.incompat),
        });
    }
    if size as u64 + u64::from(fixed.schema_len) > source.len() {
        return Err(
            FormatError::corrupt("file header", "the schema lies beyond the file's end").with_place(None, 0)
        );
    }
    let schema = source.read_at(size as u64, fixed.schema_len as usize)?;
    verify("schema section", size as u64, &schema, fixed.schema_crc)?;
    Ok(Header { fixed, schema: parse_schema(&schema)? })
}

/// A block found by its header.
#[derive(Debug, Clone)]
pub struct FoundBlock {
    /// Where it lies and what it holds, `first_row` as its header says.
    pub entry: BlockEntry,
    /// Ordinal in the file.
    pub ordinal: u32,
    /// Length of its header and directory, in bytes.
    pub head_len: u64,
    /// Chunks of all streams, in order of the schema.
    pub chunks: Vec<ChunkMeta>,
}

/// Finds the complete blocks whose headers start in the split, without a footer.
///
/// # Errors
/// When the source fails; damage is skipped.
pub fn find_blocks(source: &dyn ReadAt, header: &Header, split: &SplitSpec) -> Result<Vec<FoundBlock>> {
    let streams = stream_specs(&header.schema)?;
    let mut found = Vec::new();
    let mut at = split.start.max(EXTENT_ALIGN).next_multiple_of(EXTENT_ALIGN);
    let end = split.end.min(source.len());
    while at < end {
        let window_len = WINDOW_BYTES.min(source.len() - at);
        let window = source.read_at(at, window_len as usize)?;
        let candidate = window.chunks(EXTENT_ALIGN as usize).position(|page| {
            page.len() >= size_of::<BlockHeader>()
                && page[..16] == header.fixed.sync
                && page[16..32] == header.fixed.uuid
        });
        let Some(candidate) = candidate else {
            at += WINDOW_BYTES;
            continue;
        };
        at += candidate as u64 * EXTENT_ALIGN;
        if at >= end {
            break;
        }
        match read_block(source, header, &streams, at) {
            Ok(block) => {
                at = (at + block.entry.length).next_multiple_of(EXTENT_ALIGN);
                found.push(block);
            }
            Err(_) => at += EXTENT_ALIGN,
        }
    }
    Ok(found)
}

fn stream_specs(schema: &SchemaDefinition) -> Result<Vec<StreamSpec>> {
    let mut streams = Vec::new();
    for field in schema.arrow().fields() {
        streams.extend(ColumnShape::of(field.data_type())?.streams);
    }
    Ok(streams)
}

/// Reads and checks a block's header and directory.
///
/// # Errors
/// When there is no complete, intact block of this file at the offset.
pub fn read_block(
    source: &dyn ReadAt,
    header: &Header,
    streams: &[StreamSpec],
    at: u64,
) -> Result<FoundBlock> {
    let bad = |detail: String| FormatError::corrupt("block header", detail).with_place(None, at);
    let size = size_of::<BlockHeader>();
    let bytes = source.read_at(at, size)?;
    let h: BlockHeader = pod_read_unaligned(&bytes);
    verify("block header", at, &bytes[..124], h.crc)?;
    if h.sync != header.fixed.sync || h.uuid != header.fixed.uuid || h.offset != at {
        return Err(bad("it belongs to another file or another place".to_owned()));
    }
    if h.rows == 0
        || h.rows > BLOCK_ROWS_MAX
        || !h.unit_rows.is_power_of_two()
        || h.unit_rows as usize > UNIT_ROWS_MAX
        || size as u64 + u64::from(h.section_len) > h.length
        || u64::from(h.data_start) > h.length
        || at.checked_add(h.length).is_none()
    {
        return Err(bad(format!("{} rows in {} bytes contradict each other", h.rows, h.length)));
    }
    let section = source.read_at(at + size as u64, h.section_len as usize)?;
    verify("block section", at + size as u64, &section, h.section_crc)?;
    let archived = access::<ArchivedBlockV1>("block section", &section)?;
    if archived.chunks.len() != streams.len() {
        return Err(bad(format!("{} chunks for {} streams", archived.chunks.len(), streams.len())));
    }
    let entry = BlockEntry {
        offset: at,
        length: h.length,
        first_row: h.first_row,
        rows: h.rows as u32,
        unit_rows: h.unit_rows,
        data_start: h.data_start,
        header_crc: h.crc,
    };
    let mut chunks = Vec::with_capacity(streams.len());
    for (chunk, spec) in archived.chunks.iter().zip(streams) {
        let pages = chunk.pages.iter().map(|p| page_ref(p, &entry)).collect::<Result<Vec<_>>>()?;
        let dictionary = chunk.dictionary.as_ref().map(|p| page_ref(p, &entry)).transpose()?;
        chunks.push(chunk_meta(pages, dictionary, spec, &entry, Vec::new())?);
    }
    let last = chunks
        .iter()
        .flat_map(|c| c.pages.iter().chain(&c.dictionary))
        .map(|p| p.offset + u64::from(p.len))
        .max();
    if last.is_some_and(|end| end > source.len()) {
        return Err(bad("the file ends inside the block".to_owned()));
    }
    Ok(FoundBlock { entry, ordinal: h.ordinal, head_len: size as u64 + u64::from(h.section_len), chunks })
}

/// Opens what is left of a file: every complete block, found without the footer. Rows are numbered anew, in file order.
///
/// The pages' checksums still decide what a scan yields; see [`FileMeta::open`] for intact files.
///
/// # Errors
/// When neither header nor footer tells the schema, or the source fails.
pub fn open_salvaged(source: Arc<dyn ReadAt>, file: &str) -> Result<FileMeta> {
    let name: Arc<str> = Arc::from(file);
    let header = read_header(source.as_ref()).map_err(|e| e.with_place(Some(&name), 0))?;
    let found = find_blocks(source.as_ref(), &header, &SplitSpec::whole(file))?;
    FileMeta::from_blocks(source, &name, &header, found)
}
